package archive

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"lighter/linux/fs"
)

// seeds are tars that were thought of.
func seeds(f *testing.F, canary string) {
	f.Add(hostileTar(dir("d"), file("d/f"), hard("d/g", "d/f"), link("l", "d"), file("l/x"), file("d/.wh.f")))
	f.Add(hostileTar(link("l", canary), file("l/f"), file("../x"), hard("h", canary+"/file")))
	f.Add(hostileTar(file(".wh..wh..opq"), entry{'3', "null", "", 0o666}, entry{'6', "p", "", 0o600}, link(".", "/")))
	f.Add(hostileTar(entry{'x', "p", "30 mtime=1350244992.023960108\n", 0}, file("x"), entry{'g', "g", "20 path=../../evil/x\n", 0}, file("y")))
	f.Add([]byte("\x1f\x8b\x08\x00"))
	f.Add([]byte("\x28\xb5\x2f\xfd"))
	f.Add([]byte("\xfd7zXZ\x00"))
	f.Add([]byte("BZh9"))
}

// beside makes the folder that all is unpacked in, and what is not to be reached.
func beside(f *testing.F) (base, canary string) {
	if os.Geteuid() != 0 {
		f.Skip("needs root: gives files owners and makes devices")
	}
	base, err := os.MkdirTemp("/dev/shm", "lighter-fuzz-")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { os.RemoveAll(base) })
	canary = filepath.Join(base, "canary")
	os.Mkdir(canary, 0o700)
	os.WriteFile(canary+"/file", []byte("safe"), 0o600)
	return base, canary
}

func untouched(t *testing.T, base, canary string) {
	t.Helper()
	text, err := os.ReadFile(canary + "/file")
	st, statErr := os.Lstat(canary + "/file")
	if err != nil || statErr != nil || string(text) != "safe" || st.Mode() != 0o600 {
		t.Fatalf("the canary is %q, %v, %v", text, err, statErr)
	}
	for _, dir := range []string{base, canary} {
		if list, _ := os.ReadDir(dir); len(list) > 2 {
			t.Fatalf("%s holds %v", dir, list)
		}
	}
}

// FuzzUnpack unpacks a layer: it is refused, or packs to the very bytes; nothing beside it is touched.
func FuzzUnpack(f *testing.F) {
	base, canary := beside(f)
	seeds(f, canary)
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := filepath.Join(base, "layer")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		plain, _, err := Decompress(bytes.NewReader(data))
		if err != nil {
			return
		}
		defer plain.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err = Unpack(ctx, &bounded{plain, 1 << 20}, dir)
		untouched(t, base, canary)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := Pack(ctx, dir, &out); err != nil {
			t.Errorf("what was unpacked cannot be packed: %v", err)
		}
		if again, err := Unpacked(ctx, out.Bytes(), base); err != nil {
			t.Errorf("what was packed cannot be unpacked: %v", err)
		} else if !bytes.Equal(again, out.Bytes()) {
			t.Error("packed again to other bytes")
		}
	})
}

// Unpacked unpacks a tar and packs it.
func Unpacked(ctx context.Context, data []byte, base string) ([]byte, error) {
	dir := filepath.Join(base, "again")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if _, err := Unpack(ctx, bytes.NewReader(data), dir); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err := Pack(ctx, dir, &out)
	return out.Bytes(), err
}

// FuzzExtract copies a tar into a container's folder in which links lead out.
func FuzzExtract(f *testing.F) {
	base, canary := beside(f)
	seeds(f, canary)
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := filepath.Join(base, "root")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		os.Symlink(canary, dir+"/l")
		os.Symlink("../canary", dir+"/m")
		os.Symlink("../../../../../../../.."+canary+"/file", dir+"/x")
		root, err := fs.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		at, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer at.Close()
		Extract(t.Context(), bytes.NewReader(data), ExtractOptions{Root: at, At: "/"})
		untouched(t, base, canary)
	})
}

// bounded ends what unpacks to more than a test can hold.
type bounded struct {
	r interface{ Read([]byte) (int, error) }
	n int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.n <= 0 {
		return 0, ErrInvalid
	}
	n, err := b.r.Read(p[:min(len(p), b.n)])
	b.n -= n
	return n, err
}

// FuzzIndex reads a layer's index, as it may lie on a damaged disk.
func FuzzIndex(f *testing.F) {
	base, _ := beside(f)
	dir := filepath.Join(base, "layer")
	os.Mkdir(dir, 0o700)
	if _, err := Unpack(f.Context(), bytes.NewReader(hostileTar(file("d/f"), link("l", "d"), file("d/.wh.x"))), dir); err != nil {
		f.Fatal(err)
	}
	index, err := os.ReadFile(dir + "/" + FileIndex)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(index)
	f.Add(index[:len(index)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(dir+"/"+FileIndex, data, 0o600); err != nil {
			t.Fatal(err)
		}
		ReadEntries(dir+"/"+FileIndex, func(*Entry) error { return nil })
		var out bytes.Buffer
		Pack(t.Context(), dir, &out)
	})
}
