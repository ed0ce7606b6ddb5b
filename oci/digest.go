package oci

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
)

// Digest names bytes by their hash: "sha256:" and 64 lower-case hex digits (or "sha384:"
// and 96, "sha512:" and 128). Only a Digest that came from ParseDigest or FromBytes
// is safe as part of a path.
type Digest string

// The algorithms known here, with the number of hex digits of each.
const (
	sha256Hex = 64
	sha384Hex = 96
	sha512Hex = 128
)

// Why a digest is none, in the words that clients of registries know.
var (
	ErrDigestFormat    = errors.New("invalid checksum digest format")
	ErrDigestLength    = errors.New("invalid checksum digest length")
	ErrDigestAlgorithm = errors.New("unsupported digest algorithm")
)

// ParseDigest checks s and gives it as a Digest. It accepts and refuses exactly what
// Docker's digest library does, with its errors.
func ParseDigest(s string) (Digest, error) {
	algorithm, encoded, _ := strings.Cut(s, ":")
	if algorithm == "" || encoded == "" {
		return "", ErrDigestFormat
	}
	want := 0
	switch algorithm {
	case "sha256":
		want = sha256Hex
	case "sha384":
		want = sha384Hex
	case "sha512":
		want = sha512Hex
	default:
		if !unknownAlgorithm(algorithm) || !encodedDigest(encoded) {
			return "", ErrDigestFormat
		}
		return "", ErrDigestAlgorithm
	}
	if len(encoded) != want {
		return "", ErrDigestLength
	}
	if !lowerHex(encoded) {
		return "", ErrDigestFormat
	}
	return Digest(s), nil
}

// FromBytes gives the SHA-256 digest of b.
func FromBytes(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// FromHex makes a SHA-256 digest of 64 lower-case hex digits; ok is false for anything else.
func FromHex(s string) (d Digest, ok bool) {
	if len(s) != sha256Hex || !lowerHex(s) {
		return "", false
	}
	return Digest("sha256:" + s), true
}

func (d Digest) String() string { return string(d) }

// Valid reports whether d is well-formed.
func (d Digest) Valid() bool {
	_, err := ParseDigest(string(d))
	return err == nil
}

// Algorithm gives the part before the colon.
func (d Digest) Algorithm() string {
	algorithm, _, _ := strings.Cut(string(d), ":")
	return algorithm
}

// Hex gives the part after the colon.
func (d Digest) Hex() string {
	_, encoded, _ := strings.Cut(string(d), ":")
	return encoded
}

// Short gives the first twelve hex digits, as people see ids.
func (d Digest) Short() string {
	h := d.Hex()
	return h[:min(12, len(h))]
}

// ChainID names a stack of layers by their diff ids, lowest first: the first layer's
// own diff id, then sha256(below + " " + diff id). Empty for no layers.
func ChainID(diffIDs []Digest) Digest {
	var chain Digest
	for _, id := range diffIDs {
		chain = chain.Chain(id)
	}
	return chain
}

// ChainIDs gives the chain id of each layer of a stack, lowest first.
func ChainIDs(diffIDs []Digest) []Digest {
	out := make([]Digest, len(diffIDs))
	var chain Digest
	for i, id := range diffIDs {
		chain = chain.Chain(id)
		out[i] = chain
	}
	return out
}

// Chain gives the chain id of the layer diffID on top of the stack d, which may be empty.
func (d Digest) Chain(diffID Digest) Digest {
	if d == "" {
		return diffID
	}
	return FromBytes([]byte(string(d) + " " + string(diffID)))
}

// unknownAlgorithm: [a-z0-9]+ joined by one of .+_- each.
func unknownAlgorithm(s string) bool {
	start := true
	for i := range len(s) {
		switch c := s[i]; {
		case lower(c) || digit(c):
			start = false
		case strings.IndexByte(".+_-", c) >= 0 && !start:
			start = true
		default:
			return false
		}
	}
	return !start
}

// encodedDigest: one or more of [a-zA-Z0-9=_-].
func encodedDigest(s string) bool {
	for i := range len(s) {
		if c := s[i]; !letter(c) && !digit(c) && c != '=' && c != '_' && c != '-' {
			return false
		}
	}
	return s != ""
}

func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; !digit(c) && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func letter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func lower(c byte) bool  { return 'a' <= c && c <= 'z' }
func digit(c byte) bool  { return '0' <= c && c <= '9' }
