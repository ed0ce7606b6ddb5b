package oci

import (
	_ "crypto/sha512" // as dockerd links it

	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// names is what the fuzzer starts from and the table test compares.
var names = []string{
	"", "a", "debian", "debian:12", "library/debian", "docker.io/debian", "index.docker.io/debian", "docker.io/library/debian",
	"index.docker.io/library/debian:x", "localhost/x", "localhost:5000/x:y", "localhost", "localhost:5000", "example.com", "example.com/x",
	"example:80/x", "Example/x", "EXAMPLE.com/x/y:z", "foo_bar.com/x", "foo_bar.com:80/x", "FOO_bar/x", "-a.com/x", "a-.com/x", "a..b/x", "a.b./x",
	"[::1]/x", "[::1]:80/x", "[]/x", "[::1/x", "[fe80::1%eth0]/x", "x/[::1]", "[::1]", "a:80:90/x", "a:/x", "a.b:x/y",
	"a__b", "a___b", "a--b", "a---b", "a.b", "a..b", "a._b", "a_-b", "_a", "a_", "-a", "a-", "a/", "/a", "a//b", "a/b/c/d", "A", "aA", "a/B", "a/b:C",
	"a:", "a:b:c", "a:.b", "a:-b", "a:_b", "a:b.c-d_e", "a:" + strings.Repeat("t", 128), "a:" + strings.Repeat("t", 129),
	strings.Repeat("a", 255), strings.Repeat("a", 247), strings.Repeat("a", 248), "x.y/" + strings.Repeat("a", 255), "x.y/" + strings.Repeat("a", 256),
	strings.Repeat("a", 64), strings.Repeat("A", 64), strings.Repeat("g", 64), strings.Repeat("0", 64), strings.Repeat("0", 64) + ":x",
	"a@sha256:" + strings.Repeat("0", 64), "a@sha256:" + strings.Repeat("A", 64), "a@sha256:" + strings.Repeat("0", 63), "a@sha256:" + strings.Repeat("0", 31),
	"a:b@sha256:" + strings.Repeat("f", 64), "a@sha512:" + strings.Repeat("f", 128), "a@sha384:" + strings.Repeat("f", 96), "a@md5:" + strings.Repeat("f", 32),
	"a@a+b.c:" + strings.Repeat("f", 32), "a@a+:" + strings.Repeat("f", 32), "a@1a:" + strings.Repeat("f", 32), "a@MD5:" + strings.Repeat("f", 32), "a@", "@sha256:x", "a@b@c",
	"sha256:" + strings.Repeat("0", 64), "sha256:1234", "sha256", "sha256/x", "é", "a:é", "É/x", "a/É", "\xff", "a b", "a\n", "a:b\n", "docker.io/", "docker.io", "docker.io/a/b",
	"library/a/b", "docker.io/library/a/b", "http://a/b", "a.b/c@d", "a.b:80", "a.b:80/", "x:80/library/y", "docker.io:443/a", "DOCKER.IO/a", "İ/x", "a.b/İ",
}

// want gives the answer of Docker's own library.
func want(s string) (full, familiar, latest string, err error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return "", "", "", err
	}
	return named.String(), reference.FamiliarString(named), reference.FamiliarString(reference.TagNameOnly(named)), nil
}

func compare(t *testing.T, s string) {
	t.Helper()
	full, familiar, latest, wantErr := want(s)
	got, err := ParseReference(s)
	switch {
	case (err == nil) != (wantErr == nil), err != nil && err.Error() != wantErr.Error():
		t.Errorf("%q: error %v, want %v", s, err, wantErr)
	case err == nil && (got.String() != full || got.Familiar() != familiar || got.OrLatest().Familiar() != latest):
		t.Errorf("%q: %q %q %q, want %q %q %q", s, got, got.Familiar(), got.OrLatest().Familiar(), full, familiar, latest)
	}
	wantAny, wantErr := reference.ParseAnyReference(s)
	ref, id, err := ParseAny(s)
	switch {
	case (err == nil) != (wantErr == nil):
		t.Errorf("any %q: error %v, want %v", s, err, wantErr)
	case err == nil && string(id) != "" && string(id) != wantAny.String(), err == nil && id == "" && ref.String() != wantAny.String():
		t.Errorf("any %q: %q %q, want %q", s, ref, id, wantAny)
	}
	wantDigest, wantErr := digest.Parse(s)
	d, err := ParseDigest(s)
	switch {
	case (err == nil) != (wantErr == nil), err != nil && err.Error() != wantErr.Error(), err == nil && string(d) != wantDigest.String():
		t.Errorf("digest %q: %q %v, want %q %v", s, d, err, wantDigest, wantErr)
	}
	for _, tag := range []string{s} {
		base, _ := reference.ParseNormalizedNamed("a")
		_, wantErr := reference.WithTag(base, tag)
		_, err := Reference{Domain: DefaultDomain, Path: "library/a"}.WithTag(tag)
		if (err == nil) != (wantErr == nil) {
			t.Errorf("tag %q: %v, want %v", tag, err, wantErr)
		}
	}
}

func TestReferenceAsDockers(t *testing.T) {
	for _, s := range names {
		compare(t, s)
	}
}

func TestReferenceMatches(t *testing.T) {
	for _, s := range []string{"busybox", "busybox:1", "a/b:c", "localhost:5000/x/y:z"} {
		for _, pattern := range []string{"busy*", "*", "*/*", "*:*", "busybox:*", "a/*", "a/b", "a/b:c", "[", "localhost:5000/*/*", "busybox:1"} {
			named, _ := reference.ParseNormalizedNamed(s)
			wantOK, wantErr := reference.FamiliarMatch(pattern, named)
			r, _ := ParseReference(s)
			ok, err := r.Matches(pattern)
			if ok != wantOK || (err == nil) != (wantErr == nil) {
				t.Errorf("%q %q: %v %v, want %v %v", s, pattern, ok, err, wantOK, wantErr)
			}
		}
	}
}

func FuzzReference(f *testing.F) {
	for _, s := range names {
		f.Add(s)
	}
	f.Fuzz(compare)
}
