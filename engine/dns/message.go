package dns

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	headerSize = 12
	plainLimit = 512 // bytes that whoever says nothing can take by UDP: RFC 1035
	optSize    = 11  // of the EDNS record that we send: RFC 6891
)

// Bits in the second word of a header.
const (
	bitResponse  = 1 << 15
	maskOpcode   = 15 << 11
	bitTruncated = 1 << 9
	bitsEchoed   = 1<<8 | 1<<4 // recursion desired, checking disabled
	bitRecursion = 1 << 7      // available
	maskRCode    = 15
)

// maxName is how long a name may be, dots included: 255 bytes on the wire (RFC 1035).
const maxName = 253

// query is a question that came in.
type query struct {
	raw   []byte
	name  []byte // in lower case, without the last dot
	text  [255]byte
	kind  dnsmessage.Type
	class dnsmessage.Class
	end   int // where the question ends in raw; 0 when it has none that can be read
	edns  bool
	limit int // bytes that an answer may have
	fault dnsmessage.RCode
}

// parse reads a packet, which the query refers to afterwards. It is false for what has
// no answer at all; fault says what is wrong with what has one.
func (q *query) parse(raw []byte) bool {
	if len(raw) < headerSize {
		return false
	}
	*q = query{raw: raw, limit: plainLimit}
	flags := binary.BigEndian.Uint16(raw[2:])
	switch {
	case flags&bitResponse != 0:
		return false
	case flags&maskOpcode != 0:
		q.fault = dnsmessage.RCodeNotImplemented
	case binary.BigEndian.Uint16(raw[4:]) != 1 || !q.question():
		q.fault = dnsmessage.RCodeFormatError
	case binary.BigEndian.Uint16(raw[10:]) > 0 && !q.options():
		q.fault = dnsmessage.RCodeFormatError
	}
	return true
}

// question reads the name and what is asked of it. A name here can have nothing to
// point back to, so that a pointer in it is a fault.
func (q *query) question() bool {
	at, n := headerSize, 0
	for {
		if at >= len(q.raw) {
			return false
		}
		size := int(q.raw[at])
		at++
		if size == 0 {
			break
		}
		if size > 63 || at+size > len(q.raw) || n+size+1 > maxName {
			return false
		}
		if n > 0 {
			q.text[n] = '.'
			n++
		}
		for _, c := range q.raw[at : at+size] {
			if c == '.' || c == 0 {
				return false // inside a label: it would pass for another name
			}
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			q.text[n] = c
			n++
		}
		at += size
	}
	if at+4 > len(q.raw) {
		return false
	}
	q.name = q.text[:n]
	q.kind = dnsmessage.Type(binary.BigEndian.Uint16(q.raw[at:]))
	q.class = dnsmessage.Class(binary.BigEndian.Uint16(q.raw[at+2:]))
	q.end = at + 4
	return true
}

// options looks for the EDNS record, which says how much who asks can take.
func (q *query) options() bool {
	var p dnsmessage.Parser
	if _, err := p.Start(q.raw); err != nil {
		return false
	}
	if p.SkipAllQuestions() != nil || p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return false
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return err == dnsmessage.ErrSectionDone
		}
		if h.Type == dnsmessage.TypeOPT {
			q.edns = true
			q.limit = max(plainLimit, int(h.Class))
		}
		if p.SkipAdditional() != nil {
			return false
		}
	}
}

// reply appends an answer without records.
func (q *query) reply(out []byte, code dnsmessage.RCode) []byte {
	flags := binary.BigEndian.Uint16(q.raw[2:])&(maskOpcode|bitsEchoed) | bitResponse | bitRecursion | uint16(code)&maskRCode
	questions, extra := uint16(0), uint16(0)
	if q.end > 0 {
		questions = 1
	}
	if q.edns {
		extra = 1
	}
	out = append(out, q.raw[:2]...)
	for _, word := range [...]uint16{flags, questions, 0, 0, extra} {
		out = binary.BigEndian.AppendUint16(out, word)
	}
	if q.end > 0 {
		out = append(out, q.raw[headerSize:q.end]...)
	}
	if q.edns {
		out = q.appendOption(out)
	}
	return out
}

// appendOption adds our EDNS record: the size that we take, nothing else.
func (q *query) appendOption(out []byte) []byte {
	return append(out, 0, 0, byte(dnsmessage.TypeOPT), 0x10, 0, 0, 0, 0, 0, 0, 0)
}

// answer appends the answer to a query; done is false when the question is for others.
// Addrs is room for addresses.
func (s *Session) answer(out []byte, addrs []netip.Addr, q *query) (reply []byte, room []netip.Addr, done bool) {
	if q.fault != dnsmessage.RCodeSuccess {
		return q.reply(out, q.fault), addrs, true
	}
	if q.kind == dnsmessage.TypePTR {
		if addr, ok := reverseAddr(string(q.name)); ok {
			if name, ours := s.view.Reverse(addr); ours {
				return q.pointer(out, name), addrs, true
			}
			return out, addrs, false
		}
	}
	addrs, ours := s.view.Lookup(addrs, q.name)
	switch {
	case ours && (q.class == dnsmessage.ClassINET || q.class == dnsmessage.ClassANY):
		return q.addresses(out, addrs), addrs, true
	case ours:
		return q.reply(out, dnsmessage.RCodeSuccess), addrs, true
	case q.kind != dnsmessage.TypeA && q.kind != dnsmessage.TypeAAAA:
		return out, addrs, false
	case bytes.IndexByte(q.name, '.') < 0 && s.view.Upstream().Ndots:
		return q.reply(out, dnsmessage.RCodeSuccess), addrs, true
	}
	return out, addrs, false
}

// addresses appends an answer with the addresses of the family that was asked for, in
// an order that changes. Those that do not fit are left out, and the asker told.
func (q *query) addresses(out []byte, addrs []netip.Addr) []byte {
	four := q.kind == dnsmessage.TypeA || q.kind == dnsmessage.TypeALL
	six := q.kind == dnsmessage.TypeAAAA || q.kind == dnsmessage.TypeALL
	for i := len(addrs) - 1; i > 0; i-- {
		j := rand.IntN(i + 1)
		addrs[i], addrs[j] = addrs[j], addrs[i]
	}
	at := len(out)
	out = q.reply(out, dnsmessage.RCodeSuccess)
	if q.edns {
		out = out[:len(out)-optSize] // it comes last
	}
	room, count := q.room(), uint16(0)
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() && !four || a.Is6() && !six {
			continue
		}
		size, kind := 16, dnsmessage.TypeA
		if a.Is6() {
			size, kind = 28, dnsmessage.TypeAAAA
		}
		if len(out)-at+size > room {
			q.truncate(out[at:])
			break
		}
		out = appendRecord(out, kind, size-12)
		if a.Is4() {
			b := a.As4()
			out = append(out, b[:]...)
		} else {
			b := a.As16()
			out = append(out, b[:]...)
		}
		count++
	}
	return q.finish(out, at, count)
}

// pointer appends an answer that gives a name.
func (q *query) pointer(out []byte, name string) []byte {
	at := len(out)
	out = q.reply(out, dnsmessage.RCodeSuccess)
	if q.edns {
		out = out[:len(out)-optSize]
	}
	if len(name) > 253 {
		return q.finish(out, at, 0)
	}
	start := len(out)
	out = appendRecord(out, dnsmessage.TypePTR, len(name)+2)
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 { // no name in the DNS can hold it
			return q.finish(out[:start], at, 0)
		}
		out = append(out, byte(len(label)))
		out = append(out, label...)
	}
	out = append(out, 0)
	if len(out)-at > q.room() {
		q.truncate(out[at:])
		return q.finish(out[:start], at, 0)
	}
	return q.finish(out, at, 1)
}

// room is how many bytes an answer may have before our EDNS record.
func (q *query) room() int {
	if q.edns {
		return q.limit - optSize
	}
	return q.limit
}

// appendRecord begins a record of the name in question, whose place is known.
func appendRecord(out []byte, kind dnsmessage.Type, size int) []byte {
	out = append(out, 0xc0, headerSize, byte(kind>>8), byte(kind), 0, byte(dnsmessage.ClassINET))
	out = binary.BigEndian.AppendUint32(out, timeToLive)
	return binary.BigEndian.AppendUint16(out, uint16(size))
}

func (q *query) truncate(message []byte) { message[2] |= bitTruncated >> 8 }

// finish sets the number of records of the message that begins at at, and closes it.
func (q *query) finish(out []byte, at int, count uint16) []byte {
	binary.BigEndian.PutUint16(out[at+6:], count)
	if q.edns {
		out = q.appendOption(out)
	}
	return out
}

// reverseAddr reads the name under which the name of an address is asked for:
// 2.0.18.172.in-addr.arpa, or 32 digits before ip6.arpa.
func reverseAddr(name string) (netip.Addr, bool) {
	if digits, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		a, err := netip.ParseAddr(digits)
		if err != nil || !a.Is4() {
			return a, false
		}
		b := a.As4()
		return netip.AddrFrom4([4]byte{b[3], b[2], b[1], b[0]}), true
	}
	digits, ok := strings.CutSuffix(name, ".ip6.arpa")
	if !ok || len(digits) != 63 {
		return netip.Addr{}, false
	}
	var b [16]byte
	for i := range 32 {
		v := strings.IndexByte("0123456789abcdef", digits[2*i])
		if v < 0 || i < 31 && digits[2*i+1] != '.' {
			return netip.Addr{}, false
		}
		b[15-i/2] |= byte(v) << (4 * (i % 2))
	}
	return netip.AddrFrom16(b), true
}
