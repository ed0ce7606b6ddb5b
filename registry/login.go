package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"lighter/oci"
)

// legacyHub is where Docker Hub's accounts are asked about.
const legacyHub = "index.docker.io"

// Login asks a registry whether it takes the credentials. It gives a refresh token that
// may stand for the password from now on, empty when the registry has none.
func (c *Client) Login(ctx context.Context, domain string, creds Credentials) (identity string, err error) {
	if domain == "" || domain == legacyHub {
		domain = hub
	}
	h, err := c.host(domain)
	if err != nil {
		return "", err
	}
	for _, e := range h.endpoints {
		if e.mirror {
			continue
		}
		var there bool
		identity, there, err = c.login(ctx, e, creds)
		if err == nil || there || ctx.Err() != nil {
			break
		}
	}
	return identity, err
}

// login tries one endpoint; there says that a registry answered.
func (c *Client) login(ctx context.Context, e *endpoint, creds Credentials) (identity string, there bool, err error) {
	resp, err := c.ping(ctx, e, "")
	if err != nil {
		return "", false, err
	}
	defer discard(resp)
	if resp.StatusCode != http.StatusUnauthorized {
		if resp.StatusCode >= 300 {
			return "", true, fmt.Errorf("login attempt to %s failed with status: %s", resp.Request.URL, resp.Status)
		}
		return "", true, nil // it asks nobody who they are
	}
	auth, bearer := "", false
	for _, ch := range parseChallenges(resp.Header) {
		switch {
		case ch.scheme == "bearer":
			var got token
			if got, identity, err = e.fetchToken(ctx, ch, nil, creds, c.cfg.UserAgent, true); err != nil {
				return "", true, fmt.Errorf("Get %q: %w", e.base.JoinPath("v2/").String(), err)
			}
			auth, bearer = "Bearer "+got.text, true
		case ch.scheme == "basic" && auth == "":
			auth = basic(creds)
		}
	}
	again, err := c.ping(ctx, e, auth)
	if err != nil {
		return "", true, err
	}
	defer discard(again)
	switch {
	case again.StatusCode == http.StatusUnauthorized && bearer:
		return "", true, fmt.Errorf("Get %q: %w", e.base.JoinPath("v2/").String(), &Error{Status: http.StatusUnauthorized, Code: "UNAUTHORIZED", Message: "incorrect username or password"})
	case again.StatusCode >= 300:
		return "", true, &Error{Status: again.StatusCode, Message: fmt.Sprintf("login attempt to %s failed with status: %s", again.Request.URL, again.Status)}
	}
	return identity, true, nil
}

// ping asks `GET /v2/`, which every registry answers.
func (c *Client) ping(ctx context.Context, e *endpoint, auth string) (*http.Response, error) {
	u := e.base
	u.Path += "/v2/"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	if c.cfg.UserAgent != "" {
		req.Header.Set("User-Agent", c.cfg.UserAgent)
	}
	return hurried(e.http, req, c.cfg.Patience, c.cfg.Patience)
}

// Found is a repository that a search found.
type Found struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Stars       int    `json:"star_count"`
	Official    bool   `json:"is_official"`
	Automated   bool   `json:"is_automated"`
}

// Search asks a registry for repositories by words (Docker's `/v1/search`).
func (c *Client) Search(ctx context.Context, domain, term string, limit int, creds Credentials) ([]Found, error) {
	if domain == "" || domain == legacyHub {
		domain = hub
	}
	name := domain
	if domain == hub {
		name = cmp.Or(c.cfg.Default, legacyHub)
	}
	schemes := []string{"https"}
	if c.insecure(name) {
		schemes = append(schemes, "http")
	}
	var errs []error
	for _, scheme := range schemes {
		e, err := c.endpoint(scheme, name, c.insecure(name))
		if err != nil {
			return nil, err
		}
		found, err := c.search(ctx, e, term, limit, creds)
		e.http.CloseIdleConnections()
		if err == nil {
			return found, nil
		}
		var answered *Error
		if errors.As(err, &answered) || ctx.Err() != nil {
			return nil, err
		}
		errs = append(errs, err)
	}
	return nil, errs[len(errs)-1]
}

func (c *Client) search(ctx context.Context, e *endpoint, term string, limit int, creds Credentials) ([]Found, error) {
	u := e.base
	u.Path, u.RawQuery = "/v1/search", "q="+url.QueryEscape(term)+"&n="+strconv.Itoa(limit)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	auth, err := c.searchAuth(ctx, e, creds)
	if err != nil {
		return nil, err
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	if c.cfg.UserAgent != "" {
		req.Header.Set("User-Agent", c.cfg.UserAgent)
	}
	resp, err := hurried(e.http, req, c.cfg.Patience, c.cfg.Patience)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		err := failure(resp)
		var f *Error
		if errors.As(err, &f) && f.Code == "" {
			f.Message = fmt.Sprintf("Unexpected status code %d", f.Status)
		}
		return nil, err
	}
	var page struct{ Results []Found }
	if err := decode(resp, &page); err != nil {
		return nil, err
	}
	found := slices.DeleteFunc(page.Results, func(f Found) bool {
		_, err := oci.ParseReference(f.Name)
		return err != nil // a name that nobody could pull
	})
	for i := range found {
		found[i].Name = strings.TrimPrefix(printable(found[i].Name), "library/")
		found[i].Description = printable(found[i].Description)
	}
	return found[:min(len(found), max(limit, 0))], nil
}

// searchAuth is what a search says of who asks: name and password; for a log-in that kept
// a refresh token in the password's place, a token for the catalog, as Docker asks for it.
func (c *Client) searchAuth(ctx context.Context, e *endpoint, creds Credentials) (string, error) {
	switch {
	case creds.Username == "":
		return "", nil
	case creds.IdentityToken == "":
		return basic(creds), nil
	}
	resp, err := c.ping(ctx, e, "")
	if err != nil {
		return "", err
	}
	defer discard(resp)
	for _, ch := range parseChallenges(resp.Header) {
		if ch.scheme == "bearer" {
			got, _, err := e.fetchToken(ctx, ch, []string{"registry:catalog:search"}, creds, c.cfg.UserAgent, false)
			return "Bearer " + got.text, err
		}
	}
	return "", nil // it asks nobody who they are
}
