package hub

import (
	"archive/tar"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"lighter/hub/blob"
	"lighter/hub/meta"
	"lighter/oci"
)

// A backup is a tar file: hub.db, the database as it was at one moment, and then the
// blobs that it knows of, under the names that they have in a folder. It can be made
// while the hub serves. What is in PostgreSQL is PostgreSQL's to save.

// Saved is what a backup holds.
type Saved struct {
	Blobs int
	Bytes int64
	Gone  int // blobs that were deleted between the moment of the database and ours
}

// databaseName is the database's in a data folder and in a backup.
const databaseName = "hub.db"

// errPostgres says who backs that up.
var errPostgres = errors.New("the database is PostgreSQL's: save it with pg_dump, and after it the blobs with the means of their storage")

// Backup writes a backup.
func (s *Server) Backup(ctx context.Context, to io.Writer) (b Saved, err error) {
	if s.db.Postgres() {
		return b, errPostgres
	}
	dir, err := os.MkdirTemp(s.cfg.Data, "backup-")
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	snapshot := filepath.Join(dir, databaseName)
	if err := s.db.Snapshot(ctx, snapshot); err != nil {
		return b, fmt.Errorf("copy the database: %w", err)
	}
	out := tar.NewWriter(to)
	f, err := os.Open(snapshot)
	if err != nil {
		return b, err
	}
	info, err := f.Stat()
	if err == nil {
		err = entry(out, databaseName, info.Size(), f)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return b, err
	}
	db, err := meta.Open(ctx, snapshot)
	if err != nil {
		return b, err
	}
	err = s.backupBlobs(ctx, db, out, &b)
	return b, errors.Join(err, db.Close(), out.Close())
}

func (s *Server) backupBlobs(ctx context.Context, db *meta.DB, out *tar.Writer, b *Saved) error {
	rows, err := db.Query(ctx, `SELECT digest, size FROM blobs WHERE dying = 0 ORDER BY digest`)
	if err != nil {
		return err
	}
	for err == nil && rows.Next() {
		var d oci.Digest
		var size int64
		if err = rows.Scan(&d, &size); err == nil {
			err = s.backupBlob(ctx, d, size, out, b)
		}
	}
	return errors.Join(err, rows.Err(), rows.Close())
}

func (s *Server) backupBlob(ctx context.Context, d oci.Digest, size int64, out *tar.Writer, b *Saved) error {
	f, err := s.blobs.Open(ctx, d)
	if errors.Is(err, blob.ErrNotFound) {
		b.Gone++
		return nil
	}
	if err != nil {
		return err
	}
	err = entry(out, oci.BlobPath(d), size, f)
	b.Blobs, b.Bytes = b.Blobs+1, b.Bytes+size
	return errors.Join(err, f.Close())
}

func entry(out *tar.Writer, name string, size int64, from io.Reader) error {
	if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size, ModTime: time.Now(), Format: tar.FormatPAX}); err != nil {
		return err
	}
	if _, err := io.CopyN(out, from, size); err != nil {
		return fmt.Errorf("copy %s: %w", name, err)
	}
	return nil
}

// Restore makes a hub of a backup, in a folder where none is. Every blob is checked
// against its digest; the database comes last, so that half of a hub is none.
func Restore(ctx context.Context, cfg Config, from io.Reader) (b Saved, err error) {
	if cfg.Database != "" {
		return b, errPostgres
	}
	database := filepath.Join(cfg.Data, databaseName)
	if _, err := os.Lstat(database); !errors.Is(err, fs.ErrNotExist) {
		return b, errors.Join(fmt.Errorf("in %s is a hub already; restore into another folder", cfg.Data), err)
	}
	s := &Server{cfg: cfg}
	if err := s.openBlobs(ctx); err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, s.blobs.Close()) }()
	part := database + ".restoring"
	in := tar.NewReader(from)
	for first := true; ; first = false {
		h, err := in.Next()
		switch {
		case errors.Is(err, io.EOF) && !first:
			return b, s.restoreDatabase(ctx, part, database)
		case err != nil:
			return b, fmt.Errorf("read the backup: %w", err)
		case first != (h.Name == databaseName):
			return b, fmt.Errorf("the backup holds %q where %s or a blob should be: it is none of a hub", h.Name, databaseName)
		case first:
			err = write(part, in)
		default:
			b.Blobs, b.Bytes = b.Blobs+1, b.Bytes+h.Size
			err = s.restoreBlob(ctx, h.Name, in)
		}
		if err != nil {
			return b, err
		}
	}
}

func write(name string, from io.Reader) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Sync(), f.Close())
}

func (s *Server) restoreBlob(ctx context.Context, name string, from io.Reader) error {
	algorithm, encoded, _ := strings.Cut(strings.TrimPrefix(name, oci.BlobsDir+"/"), "/")
	d, err := oci.ParseDigest(algorithm + ":" + encoded)
	if err != nil || name != oci.BlobPath(d) {
		return fmt.Errorf("the backup holds %q, which is no blob", name)
	}
	h := blob.Hashes[d.Algorithm()]
	if h == nil {
		return fmt.Errorf("the backup holds %q: %w", name, oci.ErrDigestAlgorithm)
	}
	id, sum := blob.NewUpload(), h()
	n, err := s.blobs.Append(ctx, id, 0, io.TeeReader(from, sum))
	if err == nil && hex.EncodeToString(sum.Sum(nil)) != d.Hex() {
		err = fmt.Errorf("%s in the backup is not what it was", d)
	}
	if err != nil {
		return errors.Join(err, s.blobs.Abort(ctx, id))
	}
	if err := s.blobs.Commit(ctx, id, d, n); err != nil {
		return err
	}
	return s.blobs.Settle(ctx, d)
}

// restoreDatabase puts the database in its place, without what was under way.
func (s *Server) restoreDatabase(ctx context.Context, part, to string) error {
	db, err := meta.Open(ctx, part)
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, `DELETE FROM uploads`)
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	return os.Rename(part, to)
}
