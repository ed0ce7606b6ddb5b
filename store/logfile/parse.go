package logfile

import (
	"bytes"
	"encoding/json"
	"time"
)

// parser makes records of lines. It keeps the second it parsed last, which is
// mostly that of the next record.
type parser struct {
	clock  [19]byte
	second int64
	slow   []byte
}

// parse reads one record. It may write into raw, and the record's Line may lie in
// it. False means that raw is not a record: such lines are left out, as a torn
// write at a power failure leaves them.
func (p *parser) parse(raw []byte, r *Record) bool {
	if !bytes.HasPrefix(raw, []byte(head)) {
		return p.foreign(raw, r)
	}
	body := raw[len(head):]
	quote := bytes.IndexByte(body, '"')
	if quote < 0 {
		return false
	}
	line := body[:quote]
	switch i := bytes.IndexByte(line, '\\'); {
	case i < 0:
	case i == quote-2 && body[i+1] == 'n':
		body[i] = '\n'
		line = body[:i+1]
	default:
		return p.foreign(raw, r)
	}
	rest := body[quote:]
	switch {
	case bytes.HasPrefix(rest, []byte(`","stream":"stdout","time":"`)):
		r.Stream = Stdout
	case bytes.HasPrefix(rest, []byte(`","stream":"stderr","time":"`)):
		r.Stream = Stderr
	default:
		return p.foreign(restore(raw, body, quote), r)
	}
	rest = rest[len(`","stream":"stdout","time":"`):]
	end := len(rest) - len(`"}`)
	if end < 20 || string(rest[end:]) != `"}` || !p.time(rest[:end], &r.Time) {
		return p.foreign(restore(raw, body, quote), r)
	}
	r.Line, r.Attrs = line, nil
	return true
}

// restore undoes what parse did to the escape before the quote.
func restore(raw, body []byte, quote int) []byte {
	if quote >= 2 && body[quote-2] == '\n' {
		body[quote-2] = '\\'
	}
	return raw
}

// time reads a UTC time of RFC 3339.
func (p *parser) time(s []byte, t *time.Time) bool {
	if len(s) < 20 || s[len(s)-1] != 'Z' {
		return false
	}
	if string(s[:19]) != string(p.clock[:]) {
		at, err := time.Parse("2006-01-02T15:04:05", string(s[:19]))
		if err != nil {
			return false
		}
		copy(p.clock[:], s)
		p.second = at.Unix()
	}
	nano, digits := int64(0), s[19:len(s)-1]
	if len(digits) > 0 {
		if digits[0] != '.' || len(digits) > 10 {
			return false
		}
		for _, d := range digits[1:] {
			if d < '0' || d > '9' {
				return false
			}
			nano = nano*10 + int64(d-'0')
		}
		for i := len(digits); i < 10; i++ {
			nano *= 10
		}
	}
	*t = time.Unix(p.second, nano).UTC()
	return true
}

// foreign reads any record, whoever wrote it.
func (p *parser) foreign(raw []byte, r *Record) bool {
	var all struct {
		Log    string            `json:"log"`
		Stream string            `json:"stream"`
		Attrs  map[string]string `json:"attrs"`
		Time   time.Time         `json:"time"`
	}
	if json.Unmarshal(raw, &all) != nil || all.Time.IsZero() {
		return false
	}
	p.slow = append(p.slow[:0], all.Log...)
	*r = Record{Stream: all.Stream, Time: all.Time, Line: p.slow, Attrs: all.Attrs}
	return true
}

// when reads a record's time alone, from its end.
func (p *parser) when(raw []byte) (t time.Time, ok bool) {
	const key = `"time":"`
	i := bytes.LastIndex(raw, []byte(key))
	if i < 0 || !bytes.HasSuffix(raw, []byte(`"}`)) || !p.time(raw[i+len(key):len(raw)-2], &t) {
		var r Record
		ok = p.foreign(raw, &r)
		return r.Time, ok
	}
	return t, true
}
