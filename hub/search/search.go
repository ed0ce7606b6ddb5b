// Package search finds repositories by words of their names, descriptions and READMEs.
// SQLite's FTS5 or PostgreSQL's full-text search does it; both indexes follow the table
// of repositories by themselves.
package search

import (
	"context"
	"log/slog"
	"strings"
	"unicode"

	"lighter/hub/account"
	"lighter/hub/meta"
)

// Search finds repositories.
type Search struct {
	db  *meta.DB
	acc *account.Accounts
	log *slog.Logger
}

// New gives the search over a database, whose indexes are made when they are not there.
func New(ctx context.Context, db *meta.DB, acc *account.Accounts, log *slog.Logger) (*Search, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Search{db: db, acc: acc, log: log}
	steps := sqliteIndex
	if db.Postgres() {
		steps = postgresIndex
	}
	return s, db.Update(ctx, func(tx *meta.Tx) error {
		for _, step := range steps {
			if _, err := tx.Exec(ctx, step); err != nil {
				return err
			}
		}
		return nil
	})
}

// The two dialects have nothing in common here, so this is no migration. In names the
// signs between words become spaces.

var sqliteIndex = []string{
	`CREATE VIRTUAL TABLE IF NOT EXISTS repositories_text USING fts5(name, description, readme, tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3')`,
	`CREATE TRIGGER IF NOT EXISTS repositories_text_add AFTER INSERT ON repositories BEGIN
		INSERT INTO repositories_text (rowid, name, description, readme) VALUES (new.id, new.name, new.description, new.readme); END`,
	`CREATE TRIGGER IF NOT EXISTS repositories_text_set AFTER UPDATE OF name, description, readme ON repositories BEGIN
		UPDATE repositories_text SET name = new.name, description = new.description, readme = new.readme WHERE rowid = new.id; END`,
	`CREATE TRIGGER IF NOT EXISTS repositories_text_remove AFTER DELETE ON repositories BEGIN
		DELETE FROM repositories_text WHERE rowid = old.id; END`,
	`INSERT INTO repositories_text (rowid, name, description, readme)
		SELECT id, name, description, readme FROM repositories WHERE id NOT IN (SELECT rowid FROM repositories_text)`,
}

var postgresIndex = []string{
	`SELECT pg_advisory_xact_lock(7310579304)`, // several hubs may start at once
	`ALTER TABLE repositories ADD COLUMN IF NOT EXISTS document tsvector GENERATED ALWAYS AS (
		setweight(to_tsvector('simple', translate(name, '/-_.', '    ')), 'A') ||
		setweight(to_tsvector('simple', description), 'B') ||
		setweight(to_tsvector('simple', left(readme, 200000)), 'D')) STORED`,
	`CREATE INDEX IF NOT EXISTS repositories_document ON repositories USING gin (document)`,
}

// Query is what is looked for.
type Query struct {
	Words  string // each has to be there, the last one as a beginning; without any, all is found
	Owner  string // only what is this user's or organisation's; empty for all
	Offset int
	Limit  int // at most 100; 0 is 25
}

// Found is a page of results, best first, and how many there are in all.
type Found struct {
	Repos []account.Repo // without READMEs
	Total int
}

// maxWords bounds what one query makes the database do.
const maxWords = 12

// words are those of a text: letters and digits, so that no sign of it means something
// to the database.
func words(text string) []string {
	all := strings.FieldsFunc(strings.ToLower(strings.ToValidUTF8(text, " ")), func(c rune) bool {
		return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !unicode.IsMark(c)
	})
	return all[:min(len(all), maxWords)]
}

// match writes words as the database's language for such queries has them.
func (s *Search) match(list []string) string {
	if s.db.Postgres() {
		return "'" + strings.Join(list, "':* & '") + "':*"
	}
	return `"` + strings.Join(list, `"* "`) + `"*`
}

// Find gives the repositories with all the words that who asks may see. Those that match
// best in their name come first; stars and pulls lift a repository, each tenfold of them
// by one step.
func (s *Search) Find(ctx context.Context, who account.Identity, q Query) (Found, error) {
	visible, args := s.acc.Repos.Visible(who)
	where, rank := visible, `0.0`
	from := `repositories r`
	var first, match []any
	list := words(q.Words)
	switch {
	case len(list) == 0 && strings.TrimSpace(q.Words) != "":
		return Found{}, nil // nothing but signs
	case len(list) > 0 && s.db.Postgres():
		rank = `ts_rank_cd('{0.05, 0.2, 0.4, 1.0}', r.document, to_tsquery('simple', ?), 32) * 8`
		where = `r.document @@ to_tsquery('simple', ?) AND ` + where
		first, match = []any{s.match(list)}, []any{s.match(list)}
	case len(list) > 0:
		from = `repositories_text t JOIN repositories r ON r.id = t.rowid`
		rank = `-bm25(repositories_text, 10.0, 4.0, 1.0)`
		where = `repositories_text MATCH ? AND ` + where
		match = []any{s.match(list)}
	}
	if q.Owner != "" {
		where += ` AND r.owner = ?`
		args = append(args, plain(q.Owner))
	}
	var found Found
	if err := s.db.QueryRow(ctx, `SELECT count(*) FROM `+from+` WHERE `+where, join(match, args)...).Scan(&found.Total); err != nil {
		return Found{}, err
	}
	rows, err := s.db.Query(ctx, `SELECT r.id, r.name, r.owner, r.public, r.description, r.created, r.updated, r.pulls, r.stars FROM `+from+` WHERE `+where+
		` ORDER BY `+order(rank, list)+` LIMIT ? OFFSET ?`,
		join(match, args, exact(list, q.Words), first, []any{limitOf(q.Limit), max(q.Offset, 0)})...)
	if err != nil {
		return Found{}, err
	}
	defer rows.Close()
	for rows.Next() {
		var r account.Repo
		var public int
		var created, updated int64
		if err := rows.Scan(&r.ID, &r.Name, &r.Owner, &public, &r.Description, &created, &updated, &r.Pulls, &r.Stars); err != nil {
			return Found{}, err
		}
		r.Public, r.Created, r.Updated = public == 1, meta.Time(created), meta.Time(updated)
		found.Repos = append(found.Repos, r)
	}
	return found, rows.Err()
}

func limitOf(n int) int {
	if n <= 0 {
		return 25
	}
	return min(n, 100)
}

func join(parts ...[]any) []any {
	var all []any
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// order ranks: what is asked for by its very name first, then by how well the words
// match and how much it is used.
func order(rank string, list []string) string {
	used := `CASE WHEN %s > 99999 THEN 5 WHEN %s > 9999 THEN 4 WHEN %s > 999 THEN 3 WHEN %s > 99 THEN 2 WHEN %s > 9 THEN 1 ELSE 0 END`
	score := rank + ` + ` + strings.ReplaceAll(used, "%s", "(r.pulls / 10)") + ` + ` + strings.ReplaceAll(used, "%s", "(r.stars * 10)") + ` DESC, r.stars DESC, r.pulls DESC, r.name`
	if len(list) == 0 {
		return score
	}
	return score0 + score
}

// score0 puts the repository of the very name before all others, and then those whose
// last part it is; exact gives its values.
const score0 = `CASE WHEN r.name = ? THEN 2 WHEN r.name LIKE ? ESCAPE '!' THEN 1 ELSE 0 END DESC, `

func exact(list []string, text string) []any {
	if len(list) == 0 {
		return nil
	}
	text = strings.ToLower(strings.TrimSpace(plain(text)))
	return []any{text, "%/" + strings.NewReplacer(`!`, `!!`, `%`, `!%`, `_`, `!_`).Replace(text)}
}

// plain makes a text one that every database takes: valid, and without zeros.
func plain(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "?"), "\x00", "?")
}
