package layers

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// The kept forms are text, which every database takes: base64 of zstd. An index is front
// coded: how much of the path before is repeated, the rest, and the numbers.

// maxKept bounds what a kept form may inflate to, in bytes.
const maxKept = 256 << 20

var errKept = errors.New("what was kept about the layer cannot be read")

func (idx *Index) encode() string {
	var b []byte
	b = binary.AppendUvarint(b, uint64(len(idx.Cut)))
	b = append(b, idx.Cut...)
	before := ""
	for _, e := range idx.Entries {
		same := 0
		for same < len(before) && same < len(e.Path) && before[same] == e.Path[same] {
			same++
		}
		b = append(b, byte(e.Kind))
		b = binary.AppendUvarint(b, uint64(same))
		b = binary.AppendUvarint(b, uint64(len(e.Path)-same))
		b = append(b, e.Path[same:]...)
		for _, v := range []int64{e.Mode, e.UID, e.GID, e.Size} {
			b = binary.AppendVarint(b, v)
		}
		b = append(b, e.Sum[:]...)
		before = e.Path
	}
	return squeeze(b)
}

func decodeIndex(text string) (*Index, error) {
	raw, err := unsqueeze(text)
	if err != nil {
		return nil, err
	}
	r := bytes.NewReader(raw)
	idx := &Index{}
	cut, err := readString(r)
	if err != nil {
		return nil, err
	}
	idx.Cut = cut
	before := ""
	for r.Len() > 0 {
		var e Entry
		kind, _ := r.ReadByte()
		e.Kind = Kind(kind)
		same, err := binary.ReadUvarint(r)
		if err != nil || same > uint64(len(before)) {
			return nil, errKept
		}
		rest, err := readString(r)
		if err != nil {
			return nil, err
		}
		e.Path = before[:same] + rest
		for _, v := range []*int64{&e.Mode, &e.UID, &e.GID, &e.Size} {
			if *v, err = binary.ReadVarint(r); err != nil {
				return nil, errKept
			}
		}
		if _, err := io.ReadFull(r, e.Sum[:]); err != nil {
			return nil, errKept
		}
		idx.Entries, before = append(idx.Entries, e), e.Path
	}
	return idx, nil
}

func readString(r *bytes.Reader) (string, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil || n > uint64(r.Len()) {
		return "", errKept
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return string(b), err
}

// encodeChanges gives one JSON object a line.
func encodeChanges(list []Change) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, c := range list {
		if err := enc.Encode(c); err != nil {
			return "", err
		}
	}
	return squeeze(b.Bytes()), nil
}

func decodeChanges(text string) ([]Change, error) {
	raw, err := unsqueeze(text)
	if err != nil {
		return nil, err
	}
	var list []Change
	for dec := json.NewDecoder(bytes.NewReader(raw)); ; {
		var c Change
		if err := dec.Decode(&c); err == io.EOF {
			return list, nil
		} else if err != nil {
			return nil, fmt.Errorf("%w: %w", errKept, err)
		}
		list = append(list, c)
	}
}

func squeeze(b []byte) string {
	var out strings.Builder
	to64 := base64.NewEncoder(base64.StdEncoding, &out)
	z, err := zstd.NewWriter(to64, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err == nil {
		z.Write(b) // into memory: it cannot fail
		z.Close()
	}
	to64.Close()
	return out.String()
}

func unsqueeze(text string) ([]byte, error) {
	z, err := zstd.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(text)), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxKept))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errKept, err)
	}
	defer z.Close()
	raw, err := io.ReadAll(io.LimitReader(z, maxKept))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errKept, err)
	}
	return raw, nil
}
