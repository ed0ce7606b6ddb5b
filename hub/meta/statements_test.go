package meta

import (
	"context"
	"errors"
	"sync"
	"testing"
)

// Statements are kept, by readers and by transactions; what a transaction did with one is
// undone with it, and a query that is wrong stays wrong.
func TestStatements(t *testing.T) {
	d := open(t)
	const add, count = `INSERT INTO blobs (digest, size, created, touched) VALUES (?, 1, 1, 1)`, `SELECT count(*) FROM blobs`
	oops := errors.New("oops")
	for i, digest := range []string{"a", "b", "c", "d"} {
		err := d.Update(t.Context(), func(tx *Tx) error {
			if _, err := tx.Exec(t.Context(), add, digest); err != nil {
				return err
			}
			if i%2 == 1 {
				return oops
			}
			return nil
		})
		if i%2 == 1 != errors.Is(err, oops) {
			t.Error(err)
		}
	}
	if d.writes.known(add) == nil {
		t.Error("the statement of the transactions is not kept")
	}
	var n int
	if err := d.QueryRow(t.Context(), count).Scan(&n); err != nil || n != 2 || d.reads.known(count) == nil {
		t.Error(n, err)
	}
	if _, err := d.Exec(t.Context(), add, "a"); !Duplicate(err) {
		t.Error("twice the same:", err)
	}
	for range 2 {
		if err := d.QueryRow(t.Context(), `SELECT nothing FROM blobs`).Scan(&n); err == nil {
			t.Error("a column that is not there was read")
		}
		if _, err := d.Query(t.Context(), `SELECT digest FROM blobs WHERE digest IN (`+Marks(2)+`)`, "a"); err == nil {
			t.Error("a value is missing, and nobody said so")
		}
	}
	// The tables may change below it.
	if _, err := d.Exec(t.Context(), `ALTER TABLE blobs ADD COLUMN more BIGINT NOT NULL DEFAULT 7`); err != nil {
		t.Fatal(err)
	}
	if err := d.QueryRow(t.Context(), count).Scan(&n); err != nil || n != 2 {
		t.Error(n, err)
	}
	// A caller who goes takes nobody else's statement along.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	const other = `SELECT size FROM blobs WHERE digest = ?`
	if err := d.QueryRow(gone, other, "a").Scan(&n); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				var n int
				if err := d.QueryRow(t.Context(), other, "a").Scan(&n); err != nil || n != 1 {
					t.Error(n, err)
				}
			}
		})
	}
	all.Wait()
}
