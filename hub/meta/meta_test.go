package meta

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func open(t *testing.T) *DB {
	t.Helper()
	d, err := Open(t.Context(), filepath.Join(t.TempDir(), "odd ?#%name", "hub.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// One writer and many readers: nobody is told that the database is busy.
func TestUpdatesTogether(t *testing.T) {
	d := open(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 20 {
				now := Micros(time.Now())
				if _, err := d.Exec(t.Context(), `INSERT INTO blobs (digest, size, created, touched) VALUES (?, ?, ?, ?)`,
					"sha256:"+time.Unix(0, NewID()).String(), 1, now, now); err != nil {
					t.Error(err)
				}
				var n int
				if err := d.QueryRow(t.Context(), `SELECT count(*) FROM blobs`).Scan(&n); err != nil || n == 0 {
					t.Errorf("%d rows, %v", n, err)
				}
			}
		})
	}
	wg.Wait()
	var n int
	if err := d.QueryRow(t.Context(), `SELECT count(*) FROM blobs`).Scan(&n); err != nil || n != 400 {
		t.Errorf("%d rows, %v", n, err)
	}
}

func TestUpdateUndone(t *testing.T) {
	d := open(t)
	oops := errors.New("oops")
	insert := func(ctx context.Context, tx *Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO repositories (id, name, owner, created, updated) VALUES (?, ?, ?, 1, 1)`, NewID(), "a/b", "a")
		return err
	}
	err := d.Update(t.Context(), func(tx *Tx) error { return errors.Join(insert(t.Context(), tx), oops) })
	if !errors.Is(err, oops) {
		t.Fatal(err)
	}
	var name string
	if err := d.QueryRow(t.Context(), `SELECT name FROM repositories`).Scan(&name); !errors.Is(err, ErrNotFound) {
		t.Fatalf("%q, %v", name, err)
	}
	for i := range 2 {
		err := d.Update(t.Context(), func(tx *Tx) error { return insert(t.Context(), tx) })
		if Duplicate(err) != (i == 1) {
			t.Errorf("insert %d: %v", i, err)
		}
	}
}

func TestRebind(t *testing.T) {
	d := &DB{pg: true}
	if got := d.rebind(`SELECT a FROM b WHERE c = ? AND d IN (` + Marks(2) + `)`); got != `SELECT a FROM b WHERE c = $1 AND d IN ($2,$3)` {
		t.Error(got)
	}
}

func TestNewID(t *testing.T) {
	seen := map[int64]bool{}
	for range 1000 {
		id := NewID()
		if id <= 0 {
			t.Fatal(id)
		}
		seen[id] = true
	}
	if len(seen) < 995 {
		t.Error("ids repeat:", len(seen))
	}
}
