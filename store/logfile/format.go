package logfile

import (
	"bytes"
	"encoding/binary"
	"time"
	"unicode/utf8"
)

const hex = "0123456789abcdef"

// Format turns lines into records. Its output depends on its arguments alone, so
// that a batch whose writing was cut off can be made again, byte for byte.
type Format struct {
	tails  [2]string // all between the line and the time, a stream at a time
	second int64     // the Unix second that clock is for
	clock  []byte    // 2006-01-02T15:04:05.
	tail   []byte
}

// NewFormat makes a Format whose records carry attrs.
func NewFormat(attrs map[string]string) (*Format, error) {
	raw, err := rawAttrs(attrs)
	f := &Format{second: -1}
	for i, stream := range []string{Stdout, Stderr} {
		f.tails[i] = `","stream":"` + stream + `",` + raw + `"time":"`
	}
	return f, err
}

const head = `{"log":"`

// Append appends to dst the records of the lines in data, the first with time t
// (Unix nanoseconds), each further one a nanosecond later. It stops when dst has
// grown by limit bytes or more; with end, the unfinished last line is a record, too.
// used is how many bytes of data the records stand for, n how many they are.
func (f *Format) Append(dst, data []byte, stream string, t int64, end bool, limit int) (out []byte, used, n int) {
	tail := f.tails[0]
	if stream == Stderr {
		tail = f.tails[1]
	}
	stop := len(dst) + limit
	f.begin(tail, t)
	for used < len(data) && len(dst) < stop {
		line, whole := cut(data[used:], end)
		if line == nil {
			break
		}
		used += len(line)
		dst = append(dst, head...)
		if whole {
			line = line[:len(line)-1]
		}
		if plain(line) {
			dst = append(dst, line...)
		} else {
			dst = escape(dst, line)
		}
		if whole {
			dst = append(dst, f.tail...)
		} else {
			dst = append(dst, f.tail[2:]...)
		}
		// RFC 3339 as Go writes it: without zeros at the end of the decimals.
		if i := len(dst) - len("0Z\"}\n"); dst[i] == '0' {
			dst = trim(dst[:i])
		}
		n++
		f.next(tail, t+int64(n))
	}
	return dst, used, n
}

// begin makes the end of a record of time t: newline escape, stream, attrs, time.
func (f *Format) begin(tail string, t int64) {
	second, nano := t/1e9, t%1e9
	if second != f.second {
		f.second = second
		f.clock = time.Unix(second, 0).UTC().AppendFormat(f.clock[:0], "2006-01-02T15:04:05.")
	}
	var digits [9]byte
	for i := range digits {
		digits[8-i] = byte('0' + nano%10)
		nano /= 10
	}
	f.tail = append(append(append(append(append(f.tail[:0], `\n`...), tail...), f.clock...), digits[:]...), "Z\"}\n"...)
}

// next makes it that of time t, which is a nanosecond later.
func (f *Format) next(tail string, t int64) {
	last := len(f.tail) - len("Z\"}\n") - 1
	for i := last; i > last-9; i-- {
		if f.tail[i] != '9' {
			f.tail[i]++
			return
		}
		f.tail[i] = '0'
	}
	f.begin(tail, t) // a new second
}

// trim ends a record whose decimals end in zeros, of which dst has all but the last.
func trim(dst []byte) []byte {
	for dst[len(dst)-1] == '0' {
		dst = dst[:len(dst)-1]
	}
	if dst[len(dst)-1] == '.' {
		dst = dst[:len(dst)-1]
	}
	return append(dst, "Z\"}\n"...)
}

// cut takes the first line off data, with its newline, or as much of it as goes
// into one record. Nil means that the line has not ended yet.
func cut(data []byte, end bool) (line []byte, whole bool) {
	window := data[:min(len(data), MaxLine)]
	if i := bytes.IndexByte(window, '\n'); i >= 0 {
		return window[:i+1], true
	}
	if len(window) < MaxLine {
		if end {
			return window, false
		}
		return nil, false
	}
	// A character that lies on the border goes into the next part as a whole.
	for i := 1; i < utf8.UTFMax; i++ {
		if c := window[MaxLine-i]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(window[MaxLine-i:]) {
				return window[:MaxLine-i], false
			}
			break
		}
	}
	return window, false
}

const ones, tops = 0x0101010101010101, 0x8080808080808080

// plain says whether s can stand in a JSON string as it is. What is left of s after its
// words is looked at with the last eight bytes, some for the second time.
func plain(s []byte) bool {
	if len(s) < 8 {
		for _, b := range s {
			if b < 0x20 || b >= utf8.RuneSelf || b == '"' || b == '&' || b == '<' || b == '>' || b == '\\' {
				return false
			}
		}
		return true
	}
	bad := special(binary.LittleEndian.Uint64(s[len(s)-8:]))
	for len(s) >= 16 {
		bad |= special(binary.LittleEndian.Uint64(s)) | special(binary.LittleEndian.Uint64(s[8:]))
		s = s[16:]
	}
	if len(s) > 8 {
		bad |= special(binary.LittleEndian.Uint64(s))
	}
	return bad&tops == 0
}

// special has a top bit set when one of the eight bytes of x is to be escaped: those
// from 0x80 on have it set themselves; for the others it is what a byte borrows that
// is 0 after the exclusive or with what is looked for, or less than a space.
func special(x uint64) uint64 {
	a := (x | ones*4) ^ ones*0x26 // '"' and '&' differ in this bit alone
	b := (x | ones*2) ^ ones*0x3e // '<' and '>'
	c := x ^ ones*'\\'
	return x | (x - ones*0x20) | (a - ones) | (b - ones) | (c - ones)
}

// escape appends s as the inside of a JSON string, as Docker's encoder does: its
// escapes for control characters are \u00XX but for \n and \r.
func escape(dst, s []byte) []byte {
	start := 0
	for i := 0; i < len(s); {
		b := s[i]
		if b < utf8.RuneSelf {
			if b >= 0x20 && b != '"' && b != '&' && b != '<' && b != '>' && b != '\\' {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			switch b {
			case '\\', '"':
				dst = append(dst, '\\', b)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRune(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(append(dst, s[start:i]...), `\ufffd`...)
			start = i + size
		case r == '\u2028' || r == '\u2029':
			dst = append(append(dst, s[start:i]...), `\u202`...)
			dst = append(dst, hex[r&15])
			start = i + size
		}
		i += size
	}
	return append(dst, s[start:]...)
}
