package archive

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// xzReader reads the .xz container (https://tukaani.org/xz/xz-file-format.txt) around
// a library's LZMA2, as that library's own container reader takes as much memory as
// the stream says.
type xzReader struct {
	r       *bufio.Reader
	check   byte      // the id of the check behind each block
	block   io.Reader // of the block under way, nil between blocks
	counted *countReader
	header  int64 // bytes of the block's header
	sum     hash.Hash
	size    int64   // bytes that came out of the block
	claims  []int64 // of the block: what its header says of its two sizes, -1 for nothing
	records [][2]int64
}

var (
	errXZ      = errors.New("corrupt stream")
	errXZCheck = errors.New("checksum does not hold")
	crc64Table = crc64.MakeTable(crc64.ECMA)
)

const maxXZBlocks = 1 << 20

func newXZ(r *bufio.Reader) (io.ReadCloser, error) {
	x := &xzReader{r: r}
	return io.NopCloser(x), x.streamHeader()
}

func (x *xzReader) Read(b []byte) (int, error) {
	for len(b) > 0 {
		if x.block == nil {
			if err := x.next(); err != nil {
				return 0, err
			}
		}
		n, err := x.block.Read(b)
		x.size += int64(n)
		if x.sum != nil {
			x.sum.Write(b[:n])
		}
		if err == io.EOF {
			err = x.endBlock()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, nil
}

func (x *xzReader) full(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(x.r, b)
	return b, cutShortNil(err)
}

func cutShortNil(err error) error {
	if err == nil {
		return nil
	}
	return cutShort(err)
}

func (x *xzReader) streamHeader() error {
	b, err := x.full(12)
	if err != nil {
		return err
	}
	if string(b[:6]) != "\xfd7zXZ\x00" || b[6] != 0 || b[7] > 15 || crc32.ChecksumIEEE(b[6:8]) != binary.LittleEndian.Uint32(b[8:]) {
		return errXZ
	}
	x.check, x.records = b[7], nil
	switch x.check {
	case 0, 1, 4, 10:
		return nil
	}
	return fmt.Errorf("check of kind %d, which is not known", x.check)
}

// next begins the next block; after the last it reads the index and the foot, and goes
// on with another stream if one follows.
func (x *xzReader) next() error {
	for {
		size, err := x.r.ReadByte()
		if err != nil {
			return cutShort(err)
		}
		if size != 0 {
			return x.blockHeader(size)
		}
		if err := x.index(); err != nil {
			return err
		}
		if err := x.follow(); err != nil {
			return err
		}
	}
}

// follow looks for another stream behind padding of zeros; io.EOF when there is none.
func (x *xzReader) follow() error {
	for {
		zeros, err := x.r.Peek(4)
		if err == io.EOF && len(zeros) == 0 {
			return io.EOF
		}
		if err != nil {
			return cutShort(err)
		}
		if !bytes.Equal(zeros, make([]byte, 4)) {
			return x.streamHeader()
		}
		x.r.Discard(4)
	}
}

// blockHeader reads a block's header, of (size+1)*4 bytes with the byte that is read.
func (x *xzReader) blockHeader(size byte) error {
	rest, err := x.full(int(size)*4 + 3)
	if err != nil {
		return err
	}
	b := append([]byte{size}, rest...)
	body, sum := b[:len(b)-4], b[len(b)-4:]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(sum) {
		return errXZCheck
	}
	flags, fields := body[1], bytes.NewReader(body[2:])
	if flags&0x3f != 0 {
		return errors.New("filters besides LZMA2, which are not known")
	}
	x.claims = []int64{-1, -1}
	for i := range x.claims {
		if flags&(0x40<<i) == 0 {
			continue
		}
		n, err := binary.ReadUvarint(fields)
		if err != nil || n >= 1<<62 {
			return errXZ
		}
		x.claims[i] = int64(n)
	}
	var filter [3]byte // LZMA2, one byte of properties: the size of its dictionary
	if _, err := io.ReadFull(fields, filter[:]); err != nil || filter[0] != 0x21 || filter[1] != 1 || filter[2] > 40 {
		return errors.New("a filter other than LZMA2, which is not known")
	}
	dictionary := int64(2|filter[2]&1) << (filter[2]/2 + 11)
	if dictionary > maxWindow {
		return fmt.Errorf("it needs a dictionary of %d bytes, at most %d", dictionary, maxWindow)
	}
	x.counted = &countReader{r: x.r}
	x.header, x.size, x.sum = int64(len(b)), 0, nil
	switch x.check {
	case 1:
		x.sum = crc32.NewIEEE()
	case 4:
		x.sum = crc64.New(crc64Table)
	case 10:
		x.sum = sha256.New()
	}
	config := lzma.Reader2Config{DictCap: max(int(dictionary), lzma.MinDictCap)}
	x.block, err = config.NewReader2(x.counted)
	return err
}

// endBlock checks what the block was against its header and its check.
func (x *xzReader) endBlock() error {
	x.block = nil
	packed := x.counted.n
	if x.claims[0] >= 0 && x.claims[0] != packed || x.claims[1] >= 0 && x.claims[1] != x.size {
		return errXZ
	}
	if _, err := x.full(int(-packed & 3)); err != nil {
		return err
	}
	length := map[byte]int{1: 4, 4: 8, 10: 32}[x.check]
	want, err := x.full(length)
	if err != nil {
		return err
	}
	if x.sum != nil {
		got := x.sum.Sum(nil)
		if x.check != 10 { // the short ones stand with their low byte first
			for i, j := 0, len(got)-1; i < j; i, j = i+1, j-1 {
				got[i], got[j] = got[j], got[i]
			}
		}
		if !bytes.Equal(got, want) {
			return errXZCheck
		}
	}
	if len(x.records) >= maxXZBlocks {
		return fmt.Errorf("more than %d blocks", maxXZBlocks)
	}
	x.records = append(x.records, [2]int64{x.header + packed + int64(length), x.size})
	return nil
}

// index reads the list of blocks, which must be those that were read, and the foot.
func (x *xzReader) index() error {
	sum := crc32.NewIEEE()
	sum.Write([]byte{0})
	counted := &countReader{r: x.r, sum: sum, n: 1}
	count, err := binary.ReadUvarint(counted)
	if err != nil {
		return cutShort(err)
	}
	if count != uint64(len(x.records)) {
		return errXZ
	}
	for _, record := range x.records {
		for _, want := range record {
			got, err := binary.ReadUvarint(counted)
			if err != nil {
				return cutShort(err)
			}
			if got != uint64(want) {
				return errXZ
			}
		}
	}
	for counted.n%4 != 0 {
		if b, err := counted.ReadByte(); err != nil || b != 0 {
			return errXZ
		}
	}
	size := counted.n
	b, err := x.full(4 + 12)
	if err != nil {
		return err
	}
	foot := b[4:]
	switch {
	case binary.LittleEndian.Uint32(b) != sum.Sum32(), string(foot[10:]) != "YZ",
		crc32.ChecksumIEEE(foot[4:10]) != binary.LittleEndian.Uint32(foot),
		(int64(binary.LittleEndian.Uint32(foot[4:]))+1)*4 != size+4, foot[8] != 0, foot[9] != x.check:
		return errXZ
	}
	return nil
}

// countReader counts, and sums if it has a sum, what is read off r.
type countReader struct {
	r   *bufio.Reader
	n   int64
	sum hash.Hash32
}

func (c *countReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	if c.sum != nil {
		c.sum.Write(b[:n])
	}
	return n, err
}

func (c *countReader) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
		if c.sum != nil {
			c.sum.Write([]byte{b})
		}
	}
	return b, err
}
