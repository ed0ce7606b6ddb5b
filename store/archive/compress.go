package archive

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds what one decompressor may hold, in bytes: what `zstd --long` and
// `xz -9` need, and no more, whatever a stream claims.
const maxWindow = 128 << 20

// Decompress gives the bytes that r holds, which it tells by their first few: gzip,
// bzip2, xz, zstd, or as they are. format names what it found, "" for none. Closing it
// gives back memory, and leaves r alone.
func Decompress(r io.Reader) (plain io.ReadCloser, format string, err error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	magic, err := buffered.Peek(10)
	if err != nil && err != io.EOF {
		return nil, "", err
	}
	switch format = detect(magic); format {
	case "gzip":
		plain, err = gzip.NewReader(buffered)
	case "bzip2":
		plain = io.NopCloser(bzip2.NewReader(buffered))
	case "xz":
		plain, err = newXZ(buffered)
	case "zstd":
		var d *zstd.Decoder
		d, err = zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		if err == nil {
			plain = d.IOReadCloser()
		}
	default:
		return io.NopCloser(buffered), "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("%w: %s: %w", ErrInvalid, format, cutShort(err))
	}
	return &decompressor{plain, format}, format, nil
}

// detect names the compression of data that begins with magic.
func detect(magic []byte) string {
	begins := func(prefix string) bool { return bytes.HasPrefix(magic, []byte(prefix)) }
	switch {
	case begins("\x1f\x8b\x08"):
		return "gzip"
	case begins("BZh") && len(magic) >= 10 && (string(magic[4:10]) == "1AY&SY" || string(magic[4:10]) == "\x17\x72\x45\x38\x50\x90"):
		return "bzip2"
	case begins("\xfd7zXZ\x00"):
		return "xz"
	case begins("\x28\xb5\x2f\xfd"):
		return "zstd"
	case len(magic) >= 4 && magic[0]&0xf0 == 0x50 && string(magic[1:4]) == "\x2a\x4d\x18":
		return "zstd" // a skippable frame comes first
	}
	return ""
}

// decompressor says which format an error is about.
type decompressor struct {
	plain  io.ReadCloser
	format string
}

func (d *decompressor) Read(b []byte) (int, error) {
	n, err := d.plain.Read(b)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%w: %s: %w", ErrInvalid, d.format, cutShort(err))
	}
	return n, err
}

func (d *decompressor) Close() error { return d.plain.Close() }

// cutShort makes the end of a stream where none should be never look like its end.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
