package meta

import (
	"context"
	"database/sql"
	"strings"
	"sync"
)

// statements keeps queries as SQLite has understood them: reading the text again took a
// sixth of the hub's time for small pushes. pgx does so by itself.
type statements struct {
	db *sql.DB // nil keeps none
	mu sync.RWMutex
	by map[string]*sql.Stmt
}

// maxStatements bounds how many are kept; a hub has fewer queries.
const maxStatements = 500

// get gives a query's statement, nil when there is none to be had: then its text does.
func (s *statements) get(ctx context.Context, query string) *sql.Stmt {
	stmt := s.known(query)
	if stmt != nil || s.db == nil || s.full() || strings.Contains(query, "?,?") { // a list of Marks is seldom as long again
		return stmt
	}
	stmt, err := s.db.PrepareContext(ctx, query)
	if err != nil {
		return nil // the text tells what is wrong
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if first := s.by[query]; first != nil {
		_ = stmt.Close() // nobody has seen it
		return first
	}
	if s.by == nil {
		s.by = map[string]*sql.Stmt{}
	}
	s.by[query] = stmt
	return stmt
}

// known gives a statement that is kept already.
func (s *statements) known(query string) *sql.Stmt {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.by[query]
}

func (s *statements) full() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.by) >= maxStatements
}
