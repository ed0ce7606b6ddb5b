package logfile

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"
	"time"
)

var line70 = append(bytes.Repeat([]byte("x"), 69), '\n')

func BenchmarkFormat(b *testing.B) {
	f, _ := NewFormat(nil)
	data := bytes.Repeat(line70, 64<<10/70)
	out := make([]byte, 0, 1<<20)
	b.SetBytes(int64(len(data)))
	t := time.Now().UnixNano()
	for b.Loop() {
		f.Append(out[:0], data, Stdout, t, false, 1<<20)
	}
}

func BenchmarkWrite(b *testing.B) {
	f, _ := NewFormat(nil)
	data := bytes.Repeat(line70, 64<<10/70)
	out, _, _ := f.Append(nil, data, Stdout, time.Now().UnixNano(), false, 1<<20)
	w, err := Open(Options{Path: filepath.Join(b.TempDir(), "log")})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		w.Write(out)
		if w.Position().Offset > 200<<20 {
			w.Rotate()
		}
	}
}

func BenchmarkRead(b *testing.B) {
	f, _ := NewFormat(nil)
	data := bytes.Repeat(line70, 10_000_000/70)
	out, _, _ := f.Append(nil, data, Stdout, time.Now().UnixNano(), false, 1<<30)
	path := filepath.Join(b.TempDir(), "log")
	w, err := Open(Options{Path: path})
	if err != nil {
		b.Fatal(err)
	}
	w.Write(out)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		n := 0
		err := Read(context.Background(), path, ReadOptions{Tail: All}, func(r *Record) error { n += len(r.Line); return nil })
		if err != nil || n != len(data) {
			b.Fatal(n, err)
		}
	}
}
