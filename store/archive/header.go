package archive

import (
	"bytes"
	"strconv"
)

// header is the fields of one header block.
type header struct {
	format                   format
	name, link               string
	typeflag                 byte
	mode, uid, gid           int64
	size, mtime              int64
	major, minor             int64
	sparseMap, sparseExtends []byte // of old GNU sparse files: the map's fields, the flag
	realSize                 []byte
}

type format byte

const (
	formatV7 format = iota
	formatUSTAR
	formatSTAR
	formatGNU
)

// parseHeader reads a header block, strictly enough that bytes of something else are
// refused: its checksum must hold.
func parseHeader(b []byte) (*header, error) {
	if !checksum(b) {
		return nil, invalidf("a header that is none (its checksum does not hold)")
	}
	var p numbers
	h := &header{
		name: cString(b[:100]), mode: p.parse(b[100:108]), uid: p.parse(b[108:116]), gid: p.parse(b[116:124]),
		size: p.parse(b[124:136]), mtime: p.parse(b[136:148]), typeflag: b[156], link: cString(b[157:257]),
	}
	magic, version := string(b[257:263]), string(b[263:265])
	switch {
	case magic == "ustar\x00" && string(b[508:]) == "tar\x00":
		h.format = formatSTAR
	case magic == "ustar\x00":
		h.format = formatUSTAR
	case magic == "ustar " && version == " \x00":
		h.format = formatGNU
	}
	if h.format != formatV7 {
		h.major, h.minor = p.parse(b[329:337]), p.parse(b[337:345])
	}
	prefix := ""
	switch h.format {
	case formatUSTAR:
		prefix = cString(b[345:500])
	case formatSTAR:
		prefix = cString(b[345:476])
	case formatGNU:
		h.sparseMap, h.sparseExtends, h.realSize = b[386:482], b[482:483], b[483:495]
		prefix = oldGoPrefix(b)
	}
	if prefix != "" {
		h.name = prefix + "/" + h.name
	}
	if p.bad {
		return nil, invalidf("%.200q has a header with a number that is none", h.name)
	}
	return h, nil
}

// oldGoPrefix reads the prefix that Go before 1.8 wrote where GNU has times: known by
// times that are none, and printable text.
func oldGoPrefix(b []byte) string {
	var p numbers
	for _, field := range [][]byte{b[345:357], b[357:369]} {
		if field[0] != 0 {
			p.parse(field)
		}
	}
	if !p.bad {
		return ""
	}
	prefix := cString(b[345:500])
	for i := range len(prefix) {
		if prefix[i] >= 0x80 {
			return ""
		}
	}
	return prefix
}

// checksum tells whether the sum of a header's bytes is the one it claims, where its
// own field counts as spaces; some old programs summed signed bytes.
func checksum(b []byte) bool {
	var p numbers
	want := p.octal(b[148:156])
	var unsigned, signed int64
	for i, c := range b {
		if i >= 148 && i < 156 {
			c = ' '
		}
		unsigned += int64(c)
		signed += int64(int8(c))
	}
	return !p.bad && (want == unsigned || want == signed)
}

// numbers reads number fields, and remembers whether one was none.
type numbers struct{ bad bool }

// parse reads an octal number, or one in base 256 if its first bit is set.
func (p *numbers) parse(b []byte) int64 {
	if b[0]&0x80 == 0 {
		return p.octal(b)
	}
	var flip byte // all ones for a negative number, which is then its complement
	if b[0]&0x40 != 0 {
		flip = 0xff
	}
	var x uint64
	for i, c := range b {
		c ^= flip
		if i == 0 {
			c &= 0x7f
		}
		if x>>55 != 0 {
			p.bad = true
			return 0
		}
		x = x<<8 | uint64(c)
	}
	if flip != 0 {
		return ^int64(x)
	}
	return int64(x)
}

func (p *numbers) octal(b []byte) int64 {
	b = bytes.Trim(b, " \x00")
	if len(b) == 0 {
		return 0
	}
	x, err := strconv.ParseUint(cString(b), 8, 63)
	if err != nil {
		p.bad = true
	}
	return int64(x)
}

// cString is b up to its first zero byte.
func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
