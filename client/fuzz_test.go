package client

import (
	"bytes"
	"testing"
	"testing/iotest"
)

// FuzzDemux takes a hijacked stream apart, in large reads and byte by byte: the same comes of it.
func FuzzDemux(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x03one\x02\x00\x00\x00\x00\x00\x00\x03two"))
	f.Add([]byte("\x03\x00\x00\x00\x00\x00\x00\x05wrong\x01\x00\x00\x00\xff\xff\xff\xffx"))
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var out, err1, slow, err2 bytes.Buffer
		first := Demux(&out, &err1, bytes.NewReader(data))
		second := Demux(&slow, &err2, iotest.OneByteReader(bytes.NewReader(data)))
		if (first == nil) != (second == nil) || out.String() != slow.String() || err1.String() != err2.String() {
			t.Errorf("%q: %q %q %v, slowly %q %q %v", data, &out, &err1, first, &slow, &err2, second)
		}
		if out.Len()+err1.Len() > len(data) {
			t.Errorf("%q became more", data)
		}
	})
}
