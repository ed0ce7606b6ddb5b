package layer

import (
	"context"
	"io"
	"os"
	"testing"
)

// BenchmarkLayer takes the tar that LIGHTER_TAR names in, durably, and gives it out.
func BenchmarkLayer(b *testing.B) {
	path := os.Getenv("LIGHTER_TAR")
	if path == "" {
		b.Skip("LIGHTER_TAR names no tar")
	}
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	var l Layer
	_, s := open(b)
	run := func(name string, f func() error) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(info.Size())
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	var st *Staged
	stage := func() error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		st, err = s.Stage(context.Background(), f)
		return err
	}
	run("stage", func() error {
		if err := stage(); err != nil {
			return err
		}
		return st.Discard()
	})
	run("stage+commit", func() error {
		if l.ChainID != "" {
			if err := s.Remove(l.ChainID); err != nil {
				return err
			}
		}
		err := stage()
		if err == nil {
			l, err = s.Commit(context.Background(), st, "")
		}
		return err
	})
	run("pack", func() error { return s.Pack(context.Background(), l.ChainID, io.Discard) })
}
