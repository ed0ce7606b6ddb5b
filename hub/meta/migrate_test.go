package meta

import (
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/pressly/goose/v3"
)

// A hub of an older release is brought up to date, with all that it knows, from each step
// that there was.
func TestMigrate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.db")
	d, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	steps, err := goose.NewProvider(goose.DialectSQLite3, d.write, files)
	if err != nil {
		t.Fatal(err)
	}
	newest, err := steps.GetDBVersion(t.Context())
	if err != nil || newest < 4 {
		t.Fatal(newest, err)
	}
	if _, err := d.Exec(t.Context(), `INSERT INTO repositories (id, name, owner, created, updated) VALUES (1, 'a/b', 'a', 1, 1)`); err != nil {
		t.Fatal(err)
	}
	for version := newest - 1; version >= 1; version-- {
		if _, err := steps.DownTo(t.Context(), version); err != nil {
			t.Fatal(version, err)
		}
		again, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(version, err)
		}
		var name string
		if err := again.QueryRow(t.Context(), `SELECT name FROM repositories WHERE stars = 0 AND NOT EXISTS (SELECT 1 FROM mirrored)`).Scan(&name); err != nil || name != "a/b" {
			t.Errorf("from version %d: %q, %v", version, name, err)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
