package oci

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// The parts of a name that need not be written.
const (
	DefaultDomain = "docker.io"
	DefaultTag    = "latest"

	legacyDomain   = "index.docker.io"
	officialPrefix = "library/"
	maxPath        = 255 // bytes of Reference.Path
	maxTag         = 128 // bytes of Reference.Tag
)

// Why a name is none, in Docker's words.
var (
	ErrReferenceFormat    = errors.New("invalid reference format")
	ErrReferenceUppercase = errors.New("repository name must be lowercase")
	ErrReferenceLength    = fmt.Errorf("repository name must not be more than %d characters", maxPath)
	ErrTagFormat          = errors.New("invalid tag format")
)

// Reference is the name of an image in full: docker.io/library/debian:12@sha256:….
// Tag and Digest may each be empty. Domain is empty only for the odd name whose first
// part looks like a host and is none ("a_b.example/x").
type Reference struct {
	Domain string // with its port
	Path   string
	Tag    string
	Digest Digest
}

// ParseReference reads a name as people write it and fills in what they leave out:
// "debian" is docker.io/library/debian. It accepts and refuses exactly what Docker's
// reference library does, with its errors.
func ParseReference(s string) (Reference, error) {
	if len(s) == sha256Hex && lowerHex(s) {
		return Reference{}, fmt.Errorf("invalid repository name (%s), cannot specify 64-byte hexadecimal strings", s)
	}
	domain, rest := splitHost(s)
	remote, _, _ := strings.Cut(rest, ":")
	if strings.ToLower(remote) != remote {
		return Reference{}, fmt.Errorf("invalid reference format: repository name (%s) must be lowercase", remote)
	}
	return parseFull(domain + "/" + rest)
}

// ParseAny reads what may be the name or the id of an image. An id is 64 hex digits or a
// whole digest; for it, id is set and ref is zero.
func ParseAny(s string) (ref Reference, id Digest, err error) {
	if d, ok := FromHex(s); ok {
		return Reference{}, d, nil
	}
	if d, err := ParseDigest(s); err == nil {
		return Reference{}, d, nil
	}
	ref, err = ParseReference(s)
	return ref, "", err
}

// Name gives the repository in full, without tag and digest.
func (r Reference) Name() string {
	if r.Domain == "" {
		return r.Path
	}
	return r.Domain + "/" + r.Path
}

// String gives the reference in full.
func (r Reference) String() string { return r.Name() + r.suffix() }

// FamiliarName gives the repository as people write it.
func (r Reference) FamiliarName() string {
	if r.Domain != DefaultDomain {
		return r.Name()
	}
	if rest, ok := strings.CutPrefix(r.Path, officialPrefix); ok && !strings.Contains(rest, "/") {
		return rest
	}
	return r.Path
}

// Familiar gives the reference as people write it.
func (r Reference) Familiar() string { return r.FamiliarName() + r.suffix() }

func (r Reference) suffix() string {
	s := ""
	if r.Tag != "" {
		s = ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + string(r.Digest)
	}
	return s
}

// NameOnly reports whether r has neither tag nor digest.
func (r Reference) NameOnly() bool { return r.Tag == "" && r.Digest == "" }

// OrLatest gives r with the tag "latest" when it has neither tag nor digest.
func (r Reference) OrLatest() Reference {
	if r.NameOnly() {
		r.Tag = DefaultTag
	}
	return r
}

// WithTag gives r with another tag.
func (r Reference) WithTag(tag string) (Reference, error) {
	if !validTag(tag) {
		return Reference{}, ErrTagFormat
	}
	r.Tag = tag
	return r, nil
}

// Repository gives r without tag and digest.
func (r Reference) Repository() Reference { return Reference{Domain: r.Domain, Path: r.Path} }

// Matches reports whether the familiar form of r, with or without its tag, matches a
// pattern of path.Match ("busy*"; * crosses no slash).
func (r Reference) Matches(pattern string) (bool, error) {
	ok, err := path.Match(pattern, r.Familiar())
	if !ok {
		if byName, _ := path.Match(pattern, r.FamiliarName()); byName {
			return true, err
		}
	}
	return ok, err
}

// splitHost tells the host from the rest of a name that people wrote.
func splitHost(s string) (domain, rest string) {
	first, remainder, ok := strings.Cut(s, "/")
	if !ok {
		return DefaultDomain, officialPrefix + s
	}
	switch {
	case first == "localhost":
		domain, rest = first, remainder
	case first == legacyDomain:
		domain, rest = DefaultDomain, remainder
	case strings.ContainsAny(first, ".:"), strings.ToLower(first) != first:
		domain, rest = first, remainder
	default:
		domain, rest = DefaultDomain, s
	}
	if domain == DefaultDomain && !strings.Contains(rest, "/") {
		rest = officialPrefix + rest
	}
	return domain, rest
}

// parseFull reads name[:tag][@digest], where name has its host in front.
func parseFull(s string) (Reference, error) {
	r, digest, ok := cutReference(s)
	if !ok {
		if _, _, ok := cutReference(strings.ToLower(s)); ok {
			return Reference{}, ErrReferenceUppercase
		}
		return Reference{}, ErrReferenceFormat
	}
	if len(r.Path) > maxPath {
		return Reference{}, ErrReferenceLength
	}
	if digest != "" {
		var err error
		if r.Digest, err = ParseDigest(digest); err != nil {
			return Reference{}, err
		}
	}
	return r, nil
}

// cutReference takes the parts of a reference apart. A name has no @, and a colon in it
// belongs to the host, which ends at a slash: so there is one way to read it.
func cutReference(s string) (r Reference, digest string, ok bool) {
	name, digest, pinned := strings.Cut(s, "@")
	if pinned && !digestInReference(digest) {
		return Reference{}, "", false
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		if r.Tag = name[i+1:]; !validTag(r.Tag) {
			return Reference{}, "", false
		}
		name = name[:i]
	}
	host, rest, _ := strings.Cut(name, "/")
	switch {
	case validHost(host) && validPath(rest):
		r.Domain, r.Path = host, rest
	case validPath(name):
		r.Path = name
	default:
		return Reference{}, "", false
	}
	return r, digest, true
}

// validHost: names of letters, digits and inner dashes joined by dots, or [IPv6], and a port.
func validHost(s string) bool {
	if strings.HasPrefix(s, "[") {
		address, after, ok := strings.Cut(s[1:], "]")
		if !ok || address == "" {
			return false
		}
		for i := range len(address) {
			if c := address[i]; !hexDigit(c) && c != ':' {
				return false
			}
		}
		return after == "" || after[0] == ':' && digits(after[1:])
	}
	if host, port, ok := strings.Cut(s, ":"); ok {
		if !digits(port) {
			return false
		}
		s = host
	}
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || part[0] == '-' || part[len(part)-1] == '-' {
			return false
		}
		for i := range len(part) {
			if c := part[i]; !letter(c) && !digit(c) && c != '-' {
				return false
			}
		}
	}
	return true
}

// validPath: parts joined by slashes, each of lower-case letters and digits joined by
// one dot, one or two underscores, or any number of dashes.
func validPath(s string) bool {
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || !lowerOrDigit(part[0]) || !lowerOrDigit(part[len(part)-1]) {
			return false
		}
		for i := 0; i < len(part); {
			if lowerOrDigit(part[i]) {
				i++
				continue
			}
			start := i
			for i < len(part) && part[i] == part[start] {
				i++
			}
			run := i - start
			switch c := part[start]; {
			case c == '-', c == '_' && run <= 2, c == '.' && run == 1:
			default:
				return false
			}
			if !lowerOrDigit(part[i]) { // there is one more byte: the last is no separator
				return false
			}
		}
	}
	return true
}

func validTag(s string) bool {
	if s == "" || len(s) > maxTag {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !letter(c) && !digit(c) && c != '_' && (i == 0 || c != '.' && c != '-') {
			return false
		}
	}
	return true
}

// digestInReference: an algorithm of parts that start with a letter, joined by one of
// -_+. each, a colon, and at least 32 hex digits.
func digestInReference(s string) bool {
	algorithm, encoded, ok := strings.Cut(s, ":")
	if !ok || len(encoded) < 32 {
		return false
	}
	for i := range len(encoded) {
		if !hexDigit(encoded[i]) {
			return false
		}
	}
	start := true
	for i := range len(algorithm) {
		switch c := algorithm[i]; {
		case letter(c), digit(c) && !start:
			start = false
		case strings.IndexByte("-_+.", c) >= 0 && !start:
			start = true
		default:
			return false
		}
	}
	return !start
}

func lowerOrDigit(c byte) bool { return lower(c) || digit(c) }
func hexDigit(c byte) bool {
	return digit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func digits(s string) bool {
	for i := range len(s) {
		if !digit(s[i]) {
			return false
		}
	}
	return s != ""
}
