package image

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"lighter/api"
	"lighter/oci"
	"lighter/registry"
)

// Exchange is what images have to do with registries: pull, push, search and login.
type Exchange struct{ *Images }

// refused gives a registry's refusal the kind that its words have, for whoever asked.
func refused(err error) error {
	var e *registry.Error
	if !errors.As(err, &e) {
		return err
	}
	switch {
	case e.Status == http.StatusNotFound:
		return api.Errorf(api.NotFound, "%w", err)
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden:
		return api.Errorf(api.Unauthorized, "%w", err)
	}
	return err
}

func credentials(a api.Auth) registry.Credentials {
	return registry.Credentials{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
}

// Login asks a registry whether it takes a login. It gives a token that may stand for
// the password from now on, empty when the registry has none.
func (i Exchange) Login(ctx context.Context, a api.Auth) (identity string, err error) {
	domain := strings.TrimPrefix(strings.TrimPrefix(a.ServerAddress, "https://"), "http://")
	domain, _, _ = strings.Cut(domain, "/")
	identity, err = i.Registry.Login(ctx, domain, credentials(a))
	return identity, refused(err)
}

// SearchOptions says what to look for, and as whom.
type SearchOptions struct {
	Term    string // words; with a host in front, at that registry
	Limit   int    // 1 to 100, 0 for 25
	Filters api.Filters
	Auth    api.Auth
}

// Search asks a registry for repositories.
func (i Exchange) Search(ctx context.Context, o SearchOptions) ([]registry.Found, error) {
	if o.Limit < 0 || o.Limit > 100 {
		return nil, api.Errorf(api.Invalid, "limit %d is outside the range of [1, 100]", o.Limit)
	}
	official, err := searchBool(o.Filters, "is-official")
	if err != nil {
		return nil, err
	}
	automated, err := searchBool(o.Filters, "is-automated")
	if err != nil {
		return nil, err
	}
	stars := 0
	for _, s := range o.Filters["stars"] {
		n, err := strconv.Atoi(s)
		if err != nil {
			return nil, api.Errorf(api.Invalid, "invalid filter 'stars=%s': %w", s, err)
		}
		stars = max(stars, n)
	}
	domain, term := "", o.Term
	if head, rest, ok := strings.Cut(term, "/"); ok && (strings.ContainsAny(head, ".:") || head == "localhost") {
		domain, term = head, rest
	}
	found, err := i.Registry.Search(ctx, domain, term, cmp.Or(o.Limit, 25), credentials(o.Auth))
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(f registry.Found) bool {
		return o.Filters["is-official"] != nil && f.Official != official || o.Filters["is-automated"] != nil && f.Automated != automated || f.Stars < stars
	})
	if found == nil {
		found = []registry.Found{}
	}
	return found, nil
}

// searchBool is a filter that is true or false.
func searchBool(f api.Filters, name string) (bool, error) {
	yes, err := f.Bool(name, false)
	if err != nil {
		return false, api.Errorf(api.Invalid, "invalid filter '%s=[%s]'", name, strings.Join(f[name], " "))
	}
	return yes, nil
}

// Distribution tells what a registry has under a name: the descriptor of its manifest,
// and the platforms that it is for.
func (i Exchange) Distribution(ctx context.Context, ref oci.Reference, a api.Auth) (oci.Descriptor, []oci.Platform, error) {
	repo := i.Registry.Repository(ref, credentials(a))
	tag := ref.OrLatest().Tag
	if ref.Digest != "" {
		tag = string(ref.Digest)
	}
	d, raw, err := repo.Manifest(ctx, tag)
	if err != nil {
		return d, nil, refused(err)
	}
	m, index, err := oci.ParseManifest(raw)
	if err != nil {
		return d, nil, err
	}
	platforms := []oci.Platform{}
	if index != nil {
		for _, m := range index.Manifests {
			if m.Platform != nil {
				platforms = append(platforms, *m.Platform)
			}
		}
		return d, platforms, nil
	}
	p := &pull{i: i, ref: ref, repo: repo}
	raw, err = p.document(ctx, m.Config)
	if err == nil {
		var doc *oci.Image
		if doc, err = oci.ParseImage(raw); err == nil {
			platforms = append(platforms, doc.Platform())
		}
	}
	return d, platforms, err
}
