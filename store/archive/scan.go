package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"lighter/linux/fs"
)

// ErrInvalid is what errors about the tar itself are, rather than about reading it or
// writing files.
var ErrInvalid = errors.New("invalid tar")

// invalidf makes an error that is ErrInvalid.
func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

const blockSize = 512

var zeroBlock [blockSize]byte

// scanner reads headers off a tar, and keeps their raw bytes. It understands what Go's
// archive/tar does: v7, ustar, star, GNU and PAX, old GNU sparse files and those of
// PAX 0.0, 0.1 and 1.0.
type scanner struct {
	r   io.Reader
	raw []byte // of the headers so far that belong to the next entry

	pax                map[string]string
	longName, longLink string
}

// next reads up to the payload of the next entry, which the caller then takes off r
// itself, with its padding. At the end of the tar it gives io.EOF, and the raw bytes
// that stood there.
func (s *scanner) next() (*Entry, error) {
	s.raw, s.pax, s.longName, s.longLink = nil, nil, "", ""
	for {
		block, err := s.block()
		if err == io.EOF && len(s.raw) > 0 {
			return nil, invalidf("it ends after an extended header")
		}
		if err != nil {
			return nil, err
		}
		if bytes.Equal(block, zeroBlock[:]) {
			return nil, s.end()
		}
		h, err := parseHeader(block)
		if err != nil {
			return nil, err
		}
		switch h.typeflag {
		case 'x', 'X', 'L', 'K':
			if err := s.extended(h); err != nil {
				return nil, err
			}
		case 'g':
			// Kept, and otherwise passed over, as Docker does.
			if _, err := s.special(h); err != nil {
				return nil, err
			}
		default:
			return s.entry(h)
		}
	}
}

// block reads one block and notes it; io.EOF when the tar ends right before it.
func (s *scanner) block() ([]byte, error) {
	raw, err := s.read(blockSize)
	if err == io.ErrUnexpectedEOF {
		return nil, invalidf("it ends in the middle of a header: %w", err)
	}
	return raw, err
}

// read reads n bytes and notes them.
func (s *scanner) read(n int) ([]byte, error) {
	if len(s.raw)+n > maxExtended {
		return nil, invalidf("the headers of one entry are larger than %d bytes", maxExtended)
	}
	at := len(s.raw)
	s.raw = append(s.raw, make([]byte, n)...)
	got, err := io.ReadFull(s.r, s.raw[at:])
	s.raw = s.raw[:at+got]
	return s.raw[at:], err
}

// end is called after a block of zeros: the tar ends there, or with one more such block.
func (s *scanner) end() error {
	block, err := s.block()
	if err == nil && !bytes.Equal(block, zeroBlock[:]) {
		return invalidf("an entry follows a block of zeros")
	}
	if err == nil {
		err = io.EOF
	}
	return err
}

// special reads the payload of an extended header, with its padding.
func (s *scanner) special(h *header) ([]byte, error) {
	if h.size < 0 || h.size > maxSpecial {
		return nil, invalidf("an extended header of %d bytes, at most %d", h.size, maxSpecial)
	}
	data, err := s.read(int(h.size))
	if err == nil {
		_, err = s.read(int(padding(h.size)))
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = invalidf("it ends in the middle of an extended header: %w", io.ErrUnexpectedEOF)
	}
	return data, err
}

func (s *scanner) extended(h *header) error {
	data, err := s.special(h)
	if err != nil {
		return err
	}
	switch h.typeflag {
	case 'L':
		s.longName = cString(data)
	case 'K':
		s.longLink = cString(data)
	default:
		s.pax, err = parsePAX(string(data))
	}
	return err
}

// padding is how many bytes follow a payload of n bytes up to the next block.
func padding(n int64) int64 { return -n & (blockSize - 1) }

// entry makes an Entry of its header and what preceded it.
func (s *scanner) entry(h *header) (*Entry, error) {
	e := &Entry{
		Type: Type(h.typeflag), name: h.name, Link: h.link, Size: h.size, Mode: uint32(h.mode) & 0o7777,
		Mtime: fs.Time{Sec: h.mtime}, Atime: fs.Time{Sec: h.mtime},
	}
	uid, gid := h.uid, h.gid
	if err := s.mergePAX(e, &uid, &gid); err != nil {
		return nil, err
	}
	if s.longName != "" {
		e.name = s.longName
	}
	if s.longLink != "" {
		e.Link = s.longLink
	}
	if err := setType(e, h.typeflag); err != nil {
		return nil, err
	}
	switch {
	case e.Size < 0:
		return nil, invalidf("%.200q has a negative size", e.name)
	case !validID(uid) || !validID(gid):
		return nil, invalidf("%.200q belongs to user %d and group %d, which are no ids", e.name, uid, gid)
	case e.Type == TypeChar || e.Type == TypeBlock:
		if h.major < 0 || h.major >= 1<<12 || h.minor < 0 || h.minor >= 1<<20 {
			return nil, invalidf("%.200q is device %d:%d, which is none", e.name, h.major, h.minor)
		}
		e.Major, e.Minor = uint32(h.major), uint32(h.minor)
	}
	e.UID, e.GID = uint32(uid), uint32(gid)
	e.stored = e.Size
	switch e.Type {
	case TypeHard, TypeLink, TypeChar, TypeBlock, TypeFifo, TypeDir:
		if h.typeflag != 'D' { // a folder of an incremental GNU tar, its names are the payload
			e.stored = 0
		}
		e.Size = 0
	}
	if err := s.sparse(e, h); err != nil {
		return nil, err
	}
	e.header, s.raw = s.raw, nil
	return e, nil
}

// validID tells whether a file can belong to id: the largest 32-bit number means
// "leave it" to the kernel.
func validID(id int64) bool { return id >= 0 && id < 1<<32-1 }

func setType(e *Entry, flag byte) error {
	switch flag {
	case 0:
		e.Type = TypeFile
		if strings.HasSuffix(e.name, "/") {
			e.Type = TypeDir // v7 has no other way to say it
		}
	case '0', '7', 'S': // 7 was once for contiguous files
		e.Type = TypeFile
	case '1', '2', '3', '4', '5', '6':
	case 'D':
		e.Type = TypeDir
	case 'V':
		e.Type = TypeNone // a volume's label
	default:
		return invalidf("%.200q is of type %q, which no layer holds", e.name, string(rune(flag)))
	}
	return nil
}

func (s *scanner) mergePAX(e *Entry, uid, gid *int64) error {
	hasAtime := false
	for key, value := range s.pax {
		if value == "" && !strings.HasPrefix(key, "SCHILY.xattr.") {
			continue // the header's own stays
		}
		var err error
		switch key {
		case "path":
			e.name = value
		case "linkpath":
			e.Link = value
		case "uid":
			*uid, err = strconv.ParseInt(value, 10, 64)
		case "gid":
			*gid, err = strconv.ParseInt(value, 10, 64)
		case "size":
			e.Size, err = strconv.ParseInt(value, 10, 64)
		case "mtime":
			e.Mtime, err = parseTime(value)
		case "atime":
			hasAtime = true
			e.Atime, err = parseTime(value)
		default:
			if attr, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok && attr != "" {
				if e.Xattrs == nil {
					e.Xattrs = map[string]string{}
				}
				e.Xattrs[attr] = value
			}
		}
		if err != nil {
			return invalidf("%.200q has a %s of %.100q", e.name, key, value)
		}
	}
	if !hasAtime {
		e.Atime = e.Mtime
	}
	return nil
}

// parsePAX reads the records of an extended header: "LENGTH KEY=VALUE\n".
func parsePAX(text string) (map[string]string, error) {
	records, sparseMap := map[string]string{}, []string(nil)
	for text != "" {
		digits, rest, ok := strings.Cut(text, " ")
		n, err := strconv.Atoi(digits)
		if !ok || err != nil || n < 5 || n > len(text) || n-len(digits)-1 <= 0 || text[n-1] != '\n' {
			return nil, invalidf("a PAX record that is none: %.40q", text)
		}
		key, value, ok := strings.Cut(rest[:n-len(digits)-2], "=")
		text = text[n:]
		str := key == "path" || key == "linkpath" || key == "uname" || key == "gname"
		if !ok || key == "" || str && strings.Contains(value, "\x00") || strings.Contains(key, "\x00") {
			return nil, invalidf("a PAX record that is none: %.40q", key)
		}
		switch key {
		case "GNU.sparse.offset", "GNU.sparse.numbytes": // sparse 0.0 repeats them, in turn
			if (key == "GNU.sparse.offset") != (len(sparseMap)%2 == 0) || strings.Contains(value, ",") {
				return nil, invalidf("a sparse map out of order")
			}
			sparseMap = append(sparseMap, value)
		default:
			records[key] = value
		}
	}
	if len(sparseMap) > 0 {
		records["GNU.sparse.map"] = strings.Join(sparseMap, ",")
	}
	return records, nil
}

// parseTime reads "SECONDS[.FRACTION]", which may be negative.
func parseTime(s string) (fs.Time, error) {
	whole, fraction, _ := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || fraction == "" {
		return fs.Time{Sec: sec}, err
	}
	if strings.Trim(fraction, "0123456789") != "" {
		return fs.Time{}, strconv.ErrSyntax
	}
	nsec, _ := strconv.ParseInt((fraction + "000000000")[:9], 10, 64) // digits alone
	if strings.HasPrefix(whole, "-") && nsec > 0 {
		return fs.Time{Sec: sec - 1, Nsec: 1e9 - nsec}, nil
	}
	return fs.Time{Sec: sec, Nsec: nsec}, nil
}
