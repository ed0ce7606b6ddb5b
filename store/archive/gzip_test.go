package archive

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
)

// noise gives n bytes that are much alike.
func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var words [64][]byte
	for i := range words {
		words[i] = make([]byte, 3+r.IntN(40))
		for j := range words[i] {
			words[i][j] = byte(r.Uint32())
		}
	}
	var b []byte
	for len(b) < n {
		b = append(b, words[r.IntN(len(words))]...)
	}
	return b[:n]
}

// What is compressed on all cores is one gzip, which others read, and the same on any
// number of cores.
func TestGzip(t *testing.T) {
	was := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(was)
	for _, size := range []int{0, 1, gzipReach, gzipBlock - 1, gzipBlock, gzipBlock + 1, 5*gzipBlock + 12345} {
		plain, sums := noise(size), map[[32]byte]int{}
		for _, cores := range []int{1, 2, 7} {
			runtime.GOMAXPROCS(cores)
			var packed bytes.Buffer
			z := NewGzip(&packed)
			for b := plain; len(b) > 0; { // in pieces that fit nothing
				n := min(len(b), 77777)
				if _, err := z.Write(b[:n]); err != nil {
					t.Fatal(err)
				}
				b = b[n:]
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			sums[sha256.Sum256(packed.Bytes())]++
			zr, err := gzip.NewReader(&packed)
			if err != nil {
				t.Fatal(err)
			}
			zr.Multistream(false)
			got, err := io.ReadAll(zr)
			if err != nil || !bytes.Equal(got, plain) || packed.Len() != 0 {
				t.Fatalf("%d bytes on %d cores: %d came back, %d behind them, %v", size, cores, len(got), packed.Len(), err)
			}
		}
		if len(sums) != 1 {
			t.Errorf("%d bytes: the number of cores shows: %x", size, sums)
		}
	}
}

// What comes out must not change from one version of the library to the next without our
// knowing: a layer that is packed anew would get another digest.
func TestGzipStays(t *testing.T) {
	h := sha256.New()
	z := NewGzip(h)
	z.Write(noise(3 * gzipBlock))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprintf("%x", h.Sum(nil)), "ea509afb78b2d894d87cea77518eba2696844b162ff491afc75bf3c538d68fdb"; got != want {
		t.Errorf("it compresses to %s, once to %s", got, want)
	}
}

// narrow takes some bytes and no more.
type narrow struct{ left int }

var errNarrow = errors.New("no room")

func (n *narrow) Write(b []byte) (int, error) {
	if n.left -= len(b); n.left < 0 {
		return 0, errNarrow
	}
	return len(b), nil
}

func TestGzipWriteFails(t *testing.T) {
	for _, room := range []int{0, 5, 100_000, 500_000} {
		z := NewGzip(&narrow{room})
		var err error
		for n := 0; n < 1000 && err == nil; n++ {
			_, err = z.Write(noise(gzipBlock / 3))
		}
		if closed := z.Close(); !errors.Is(err, errNarrow) || !errors.Is(closed, errNarrow) {
			t.Errorf("room for %d: %v, then %v", room, err, closed)
		}
	}
}

func BenchmarkGzip(b *testing.B) {
	plain := noise(64 << 20)
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		z := NewGzip(io.Discard)
		z.Write(plain)
		z.Close()
	}
}
