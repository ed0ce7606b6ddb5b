// Package meta is what the hub knows: repositories, manifests, tags, and what the other
// rooms add in files of their own under migrations/. It is kept in SQLite (a file, the
// default) or in PostgreSQL, which several hubs may share.
//
// Queries are written once, for both: `?` stands for a value, times are microseconds
// since 1970 (Micros), truths are 0 and 1, an id comes from NewID. Nothing that a client
// sent ever becomes part of a query's text.
package meta

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // "pgx" of database/sql
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"modernc.org/sqlite"
)

//go:embed migrations/*.sql
var migrations embed.FS

// ErrNotFound says that there is no such row: QueryRow's Scan gives it.
var ErrNotFound = sql.ErrNoRows

// DB is the database, with its tables as this program wants them.
type DB struct {
	read  *sql.DB
	write *sql.DB // of SQLite one connection, which alone writes; else the same as read
	pg    bool

	reads, writes statements
}

// Open opens the database of an address and brings its tables up to date. An address is
// "postgres://…", or a path of a file for SQLite, which is made when it is not there.
func Open(ctx context.Context, address string) (*DB, error) {
	d := &DB{pg: strings.HasPrefix(address, "postgres://") || strings.HasPrefix(address, "postgresql://")}
	if err := d.connect(address); err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	if err := d.alone(ctx, address, d.migrate); err != nil {
		return nil, errors.Join(fmt.Errorf("bring the tables of the database up to date: %w", err), d.Close())
	}
	return d, nil
}

func (d *DB) connect(address string) (err error) {
	if d.pg {
		d.read, err = sql.Open("pgx", address)
		if err != nil {
			return err
		}
		d.read.SetMaxOpenConns(max(16, 4*runtime.NumCPU()))
		d.read.SetMaxIdleConns(8)
		d.read.SetConnMaxIdleTime(5 * time.Minute)
		d.write = d.read
		return nil
	}
	path, err := filepath.Abs(address)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite would make it readable for all
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	// In WAL mode without a sync a commit; what a power cut takes are the last commits,
	// never the file's consistency.
	options := url.Values{"_pragma": {"busy_timeout(15000)", "journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(1)"}}
	where := (&url.URL{Scheme: "file", OmitHost: true, Path: path}).String() + "?" + options.Encode()
	if d.read, err = sql.Open("sqlite", where); err != nil {
		return err
	}
	d.read.SetMaxOpenConns(max(8, 2*runtime.NumCPU()))
	d.read.SetMaxIdleConns(max(8, 2*runtime.NumCPU()))
	if d.write, err = sql.Open("sqlite", where+"&_txlock=immediate"); err != nil {
		return errors.Join(err, d.read.Close())
	}
	d.write.SetMaxOpenConns(1)
	d.reads.db, d.writes.db = d.read, d.write
	return nil
}

// alone runs do while no other program does on the same file of SQLite: `serve` and `user
// add` may both find a new one. A transaction on an empty file beside it is the lock,
// which goes with its program. On PostgreSQL goose sees to it.
func (d *DB) alone(ctx context.Context, path string, do func(context.Context) error) error {
	if d.pg {
		return do(ctx)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	where := (&url.URL{Scheme: "file", OmitHost: true, Path: path + ".lock"}).String()
	lock, err := sql.Open("sqlite", where+"?_pragma=busy_timeout(60000)&_txlock=exclusive")
	if err != nil {
		return err
	}
	defer lock.Close()
	tx, err := lock.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	return errors.Join(do(ctx), tx.Rollback())
}

func (d *DB) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	dialect, options := goose.DialectSQLite3, []goose.ProviderOption{}
	if d.pg {
		dialect = goose.DialectPostgres
		locker, err := lock.NewPostgresSessionLocker() // several hubs may start at once
		if err != nil {
			return err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	p, err := goose.NewProvider(dialect, d.write, files, options...)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// Close lets the database go.
func (d *DB) Close() error {
	if d.pg {
		return d.read.Close()
	}
	return errors.Join(d.read.Close(), d.write.Close())
}

// Snapshot copies an SQLite database, as it is at one moment, to a file that is not there.
func (d *DB) Snapshot(ctx context.Context, path string) error {
	if d.pg {
		return errors.New("PostgreSQL is not in a file of ours")
	}
	_, err := d.read.ExecContext(ctx, `VACUUM INTO ?`, path)
	return err
}

// Postgres reports whether the database is PostgreSQL, for the few queries that have to
// be written twice.
func (d *DB) Postgres() bool { return d.pg }

// Ping asks whether the database answers.
func (d *DB) Ping(ctx context.Context) error { return d.read.PingContext(ctx) }

// Query reads rows.
func (d *DB) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if s := d.reads.get(ctx, query); s != nil {
		return s.QueryContext(ctx, texts(args)...)
	}
	return d.read.QueryContext(ctx, d.rebind(query), texts(args)...)
}

// QueryRow reads one row; its Scan gives ErrNotFound when there is none.
func (d *DB) QueryRow(ctx context.Context, query string, args ...any) *sql.Row {
	if s := d.reads.get(ctx, query); s != nil {
		return s.QueryRowContext(ctx, texts(args)...)
	}
	return d.read.QueryRowContext(ctx, d.rebind(query), texts(args)...)
}

// Exec is one statement that writes, and how many rows it touched.
func (d *DB) Exec(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = d.Update(ctx, func(tx *Tx) error {
		n, err = tx.Exec(ctx, query, args...)
		return err
	})
	return n, err
}

// Tx is a transaction that writes.
type Tx struct {
	tx     *sql.Tx
	d      *DB
	others []string // queries whose statements are not kept yet
}

// stmt gives a statement that is kept. Others become one when the transaction, which has
// the only connection, is over.
func (t *Tx) stmt(ctx context.Context, query string) *sql.Stmt {
	if s := t.d.writes.known(query); s != nil {
		return t.tx.StmtContext(ctx, s)
	}
	if t.d.writes.db != nil {
		t.others = append(t.others, query)
	}
	return nil
}

// Query reads rows as the transaction sees them.
func (t *Tx) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if s := t.stmt(ctx, query); s != nil {
		return s.QueryContext(ctx, texts(args)...)
	}
	return t.tx.QueryContext(ctx, t.d.rebind(query), texts(args)...)
}

// QueryRow reads one row as the transaction sees it.
func (t *Tx) QueryRow(ctx context.Context, query string, args ...any) *sql.Row {
	if s := t.stmt(ctx, query); s != nil {
		return s.QueryRowContext(ctx, texts(args)...)
	}
	return t.tx.QueryRowContext(ctx, t.d.rebind(query), texts(args)...)
}

// Exec is one statement, and how many rows it touched.
func (t *Tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	var r sql.Result
	var err error
	if s := t.stmt(ctx, query); s != nil {
		r, err = s.ExecContext(ctx, texts(args)...)
	} else {
		r, err = t.tx.ExecContext(ctx, t.d.rebind(query), texts(args)...)
	}
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// Update runs do in a transaction, which is kept when do gives no error. A transaction
// that lost against another one is run again, so do must change nothing but the database
// and what it overwrites when it is run again. Keep it short: SQLite has one writer.
func (d *DB) Update(ctx context.Context, do func(*Tx) error) error {
	const tries = 5
	var err error
	for range tries {
		if err = d.once(ctx, do); err == nil || !lost(err) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (d *DB) once(ctx context.Context, do func(*Tx) error) error {
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	t := &Tx{tx: tx, d: d}
	if err := do(t); err != nil {
		if undone := tx.Rollback(); undone != nil && !errors.Is(undone, sql.ErrTxDone) {
			return errors.Join(err, undone)
		}
		return err
	}
	err = tx.Commit()
	for _, query := range t.others {
		d.writes.get(ctx, query)
	}
	return err
}

// lost reports whether a transaction may do better another time.
func lost(err error) bool {
	if p, ok := errors.AsType[*pgconn.PgError](err); ok {
		return p.Code == "40001" || p.Code == "40P01" // serialization failure, deadlock
	}
	if s, ok := errors.AsType[*sqlite.Error](err); ok {
		return s.Code()&0xff == 5 // SQLITE_BUSY
	}
	return false
}

// Duplicate reports whether a row could not be written because one with its key is there.
func Duplicate(err error) bool {
	if p, ok := errors.AsType[*pgconn.PgError](err); ok {
		return p.Code == "23505"
	}
	if s, ok := errors.AsType[*sqlite.Error](err); ok {
		return s.Code() == 1555 || s.Code() == 2067 // SQLITE_CONSTRAINT_PRIMARYKEY, _UNIQUE
	}
	return false
}

// rebind writes a query's placeholders as the database wants them. A query of ours has
// no question mark but those.
func (d *DB) rebind(query string) string {
	if !d.pg {
		return query
	}
	var b strings.Builder
	for n := 1; ; n++ {
		before, after, found := strings.Cut(query, "?")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(n))
		query = after
	}
}

// texts makes values that are no text ones that every database takes: what a client sent
// is looked for, or kept, as something else then.
func texts(args []any) []any {
	for i, arg := range args {
		s, ok := arg.(string)
		if !ok || utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
			continue
		}
		args = slices.Clone(args) // it is the caller's
		args[i] = strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
	}
	return args
}

// Bytes is a column whose texts compare byte by byte: SQLite does so, PostgreSQL when told.
func (d *DB) Bytes(column string) string {
	if d.pg {
		return column + ` COLLATE "C"`
	}
	return column
}

// Marks gives "?,?,?" for n values.
func Marks(n int) string { return strings.TrimSuffix(strings.Repeat("?,", n), ",") }

// NewID gives a number for a new row: the time, and enough chance that several hubs do
// not meet.
func NewID() int64 {
	var b [4]byte
	rand.Read(b[:]) // never fails
	return IDAt(time.Now()) | int64(binary.LittleEndian.Uint32(b[:])&(1<<20-1))
}

// IDAt is less than every id of NewID from that time on.
func IDAt(t time.Time) int64 { return t.UnixMilli() << 20 }

// Micros gives a time as the tables keep it; the zero time is 0.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// Time is the other way.
func Time(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// Refusal is an error that says how HTTP answers with it. Rooms that decide who may do
// what give it; rooms that serve render it in the shape of their protocol.
type Refusal struct {
	Status     int    // an HTTP status
	Code       string // of the distribution specification, such as "DENIED"
	Message    string
	Challenge  string        // a WWW-Authenticate header, empty for none
	RetryAfter time.Duration // 0 for none
}

func (r *Refusal) Error() string { return cmp.Or(r.Message, r.Code) }
