package search

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"lighter/hub/account"
	"lighter/hub/meta"
)

// Docker's clients search by a route that is older than the registry's protocol. They
// ask `/v1/_ping` first whether they may log in by name and password there.

// Handlers are the routes of the search, by patterns of http.ServeMux.
func (s *Search) Handlers() map[string]http.Handler {
	return map[string]http.Handler{
		"GET /v1/_ping":  http.HandlerFunc(s.ping),
		"GET /v1/search": http.HandlerFunc(s.v1),
	}
}

func (s *Search) ping(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Docker-Registry-Version", "0.9.0")
	w.Header().Set("X-Docker-Registry-Standalone", "true")
	_, _ = w.Write([]byte("{\"standalone\":true}\n"))
}

// result is one repository as `docker search` reads it.
type result struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Stars       int64  `json:"star_count"`
	Pulls       int64  `json:"pull_count"`
	Trusted     bool   `json:"is_trusted"`
	Automated   bool   `json:"is_automated"`
	Official    bool   `json:"is_official"`
}

// page is what `/v1/search` answers.
type page struct {
	Pages    int      `json:"num_pages"`
	Total    int      `json:"num_results"`
	Results  []result `json:"results"`
	PageSize int      `json:"page_size"`
	Query    string   `json:"query"`
	Page     int      `json:"page"`
}

// v1 answers GET /v1/search?q=words&n=size&page=number.
func (s *Search) v1(w http.ResponseWriter, r *http.Request) {
	found, p, err := s.answer(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	for _, one := range found.Repos {
		p.Results = append(p.Results, result{Name: one.Name, Description: one.Description, Stars: one.Stars, Pulls: one.Pulls,
			Official: one.Owner == account.OwnerOf("")})
	}
	p.Total, p.Pages = found.Total, (found.Total+p.PageSize-1)/p.PageSize
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store") // it depends on who asks
	_ = json.NewEncoder(w).Encode(p)
}

func (s *Search) answer(r *http.Request) (Found, page, error) {
	who, err := s.acc.Who(r)
	if err != nil {
		return Found{}, page{}, err
	}
	q := r.URL.Query()
	p := page{Results: []result{}, Query: q.Get("q"), PageSize: number(q.Get("n"), 25, 100), Page: number(q.Get("page"), 1, 10000)}
	found, err := s.Find(r.Context(), who, Query{Words: p.Query, Offset: (p.Page - 1) * p.PageSize, Limit: p.PageSize})
	return found, p, err
}

// number reads a number between 1 and most; what is none is the usual one.
func number(text string, usual, most int) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return usual
	}
	return min(n, most)
}

func (s *Search) fail(w http.ResponseWriter, r *http.Request, err error) {
	refusal, ok := errors.AsType[*meta.Refusal](err)
	if !ok {
		if r.Context().Err() == nil {
			s.log.Error("a search failed", "query", r.URL.Query().Get("q"), "error", err)
		}
		refusal = &meta.Refusal{Status: http.StatusInternalServerError, Code: "UNKNOWN", Message: "the hub cannot search now"}
	}
	account.Refuse(w, refusal)
}
