package logfile

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzRead reads a log file of any content: forwards and from its end, the records are the same.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"log":"a\n","stream":"stdout","time":"2020-01-01T00:00:00Z"}` + "\n" + `{"log":"b","stream":"stderr","attrs":{"a":"b"},"time":"2020-01-01T00:00:01.5Z"}` + "\n"))
	f.Add([]byte("\x00\x00\x00{\"log\":\"\\ud800\",\"time\":\"9999-99-99T99:99:99Z\"}\n\n\n{"))
	f.Add([]byte(`{"log":"no end","stream":"stdout","time":"2020-01-01T00:00:00Z"}`))
	path := filepath.Join(f.TempDir(), "log")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		read := func(o ReadOptions) (list []string) {
			Read(t.Context(), path, o, func(r *Record) error {
				list = append(list, string(r.Line))
				return nil
			})
			return list
		}
		all := read(ReadOptions{Tail: All})
		for _, n := range []int{1, 3} {
			last := read(ReadOptions{Tail: n})
			if len(last) > n || len(last) > len(all) {
				t.Fatalf("%q: the last %d are %q of %q", data, n, last, all)
			}
			for i, line := range last {
				if line != all[len(all)-len(last)+i] {
					t.Errorf("%q: the last %d are %q of %q", data, n, last, all)
				}
			}
		}
		ReadMark(path)
	})
}
