package archive

import (
	"bytes"
	"io"
	"strconv"
	"strings"
)

// sparse finds out whether e is a sparse file, and takes its map.
func (s *scanner) sparse(e *Entry, h *header) error {
	var err error
	switch {
	case h.typeflag == 'S':
		e.Sparse, err = true, s.sparseGNU(e, h)
	case e.Type == TypeFile:
		err = s.sparsePAX(e)
	}
	if err != nil || !e.Sparse {
		return err
	}
	end, stored := int64(0), int64(0)
	for _, f := range e.Fragments {
		if f.Offset < end || f.Length < 0 || f.Length > e.Size-f.Offset {
			return invalidf("%.200q has a sparse map that does not fit its size", e.name)
		}
		end = f.Offset + f.Length
		stored += f.Length
	}
	if e.Size < 0 || stored != e.stored {
		return invalidf("%.200q has a sparse map of %d bytes, and stores %d", e.name, stored, e.stored)
	}
	return nil
}

// sparseGNU reads the map in the header block, and in those that follow it.
func (s *scanner) sparseGNU(e *Entry, h *header) error {
	if h.format != formatGNU {
		return invalidf("%.200q is a sparse file in a tar that is not GNU's", e.name)
	}
	var p numbers
	e.Size = p.parse(h.realSize)
	fields, extends := h.sparseMap, h.sparseExtends[0]
	for {
		for ; len(fields) >= 24 && fields[0] != 0; fields = fields[24:] {
			e.Fragments = append(e.Fragments, Fragment{p.parse(fields[:12]), p.parse(fields[12:24])})
		}
		if p.bad {
			return invalidf("%.200q has a sparse map with a number that is none", e.name)
		}
		if extends == 0 {
			return nil
		}
		block, err := s.block()
		if err == io.EOF {
			err = invalidf("it ends in the middle of a sparse map")
		}
		if err != nil {
			return err
		}
		fields, extends = block[:504], block[504]
	}
}

// sparsePAX reads the maps that GNU tar writes in PAX records, and with version 1.0 at
// the front of the payload.
func (s *scanner) sparsePAX(e *Entry) error {
	version := s.pax["GNU.sparse.major"] + "." + s.pax["GNU.sparse.minor"]
	switch {
	case version == "0.0" || version == "0.1" || version == "1.0":
	case version == "." && s.pax["GNU.sparse.map"] != "":
	default:
		return nil
	}
	if name := s.pax["GNU.sparse.name"]; name != "" {
		e.name = name
	}
	size := s.pax["GNU.sparse.size"]
	if size == "" {
		size = s.pax["GNU.sparse.realsize"]
	}
	if size != "" {
		n, err := strconv.ParseInt(size, 10, 64)
		if err != nil {
			return invalidf("%.200q has a size of %.40q", e.name, size)
		}
		e.Size = n
	}
	e.Sparse = true
	if version == "1.0" {
		return s.sparsePayload(e)
	}
	var fields []string
	if text := s.pax["GNU.sparse.map"]; text != "" {
		fields = strings.Split(text, ",")
	}
	count, err := strconv.Atoi(s.pax["GNU.sparse.numblocks"])
	if err != nil || count < 0 || len(fields)%2 != 0 || len(fields)/2 != count {
		return invalidf("%.200q has a sparse map of another length than it says", e.name)
	}
	return appendFragments(e, fields)
}

// sparsePayload reads a map of lines, whole blocks of them: how many there are, then
// offset and length of each.
func (s *scanner) sparsePayload(e *Entry) error {
	var text []byte
	lines, want := 0, 1
	for {
		for lines < want {
			if e.stored < blockSize || len(text) >= maxSpecial {
				return invalidf("%.200q has a sparse map without an end", e.name)
			}
			block, err := s.block()
			if err == io.EOF {
				err = invalidf("it ends in the middle of a sparse map")
			}
			if err != nil {
				return err
			}
			e.stored -= blockSize
			text = append(text, block...)
			lines += bytes.Count(block, []byte("\n"))
		}
		if want > 1 {
			break
		}
		first, _, _ := strings.Cut(string(text[:min(len(text), 32)]), "\n")
		count, err := strconv.Atoi(first)
		if err != nil || count < 0 || count > maxSpecial {
			return invalidf("%.200q has a sparse map of %.32q fragments", e.name, first)
		}
		if want = 1 + 2*count; want == 1 {
			break
		}
	}
	return appendFragments(e, strings.SplitN(string(text), "\n", want+1)[1:want])
}

func appendFragments(e *Entry, fields []string) error {
	for i := 0; i+1 < len(fields); i += 2 {
		offset, err1 := strconv.ParseInt(fields[i], 10, 64)
		length, err2 := strconv.ParseInt(fields[i+1], 10, 64)
		if err1 != nil || err2 != nil {
			return invalidf("%.200q has a sparse map with a number that is none", e.name)
		}
		e.Fragments = append(e.Fragments, Fragment{offset, length})
	}
	return nil
}
