// Package api holds the words of the Docker Engine API as lighter speaks it: the
// shapes on the wire (those of Docker 28, API 1.24 to 1.51), filters, versions,
// and the one table that ties kinds of error to HTTP status and exit code.
//
// It is no client and no server: it moves no bytes and knows no engine.
package api

import (
	"strconv"
	"strings"
)

// The versions of the Engine API that are spoken, and the Docker release whose
// behaviour the newest stands for.
const (
	Version       = "1.51"
	MinVersion    = "1.24"
	DockerVersion = "28.5.2"
)

// CreatedHeader names the field of an answer's header that tells what was made where the request's
// connection has become its streams: between a client and an engine of ours.
const CreatedHeader = "Lighter-Created"

// VersionLess reports whether API version a ("1.41") is older than b.
func VersionLess(a, b string) bool {
	amaj, amin := splitVersion(a)
	bmaj, bmin := splitVersion(b)
	return amaj < bmaj || amaj == bmaj && amin < bmin
}

func splitVersion(v string) (major, minor int) {
	a, b, _ := strings.Cut(v, ".")
	major, _ = strconv.Atoi(a)
	minor, _ = strconv.Atoi(b)
	return major, minor
}

// Release and Commit are this build's, stamped by the linker (see the Makefile).
var (
	Release = "0.1.0-dev"
	Commit  = "unknown"
)
