package distribution

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"

	"lighter/hub/account"
	"lighter/hub/blob"
	"lighter/hub/meta"
	"lighter/oci"
)

// statuses are the specification's error codes, with the status that goes with each.
var statuses = map[string]int{
	"BLOB_UNKNOWN":              http.StatusNotFound,
	"BLOB_UPLOAD_INVALID":       http.StatusBadRequest,
	"BLOB_UPLOAD_UNKNOWN":       http.StatusNotFound,
	"DENIED":                    http.StatusForbidden,
	"DIGEST_INVALID":            http.StatusBadRequest,
	"MANIFEST_BLOB_UNKNOWN":     http.StatusNotFound,
	"MANIFEST_INVALID":          http.StatusBadRequest,
	"MANIFEST_TOO_LARGE":        http.StatusRequestEntityTooLarge, // written as MANIFEST_INVALID
	"MANIFEST_UNKNOWN":          http.StatusNotFound,
	"NAME_INVALID":              http.StatusBadRequest,
	"NAME_UNKNOWN":              http.StatusNotFound,
	"PAGINATION_NUMBER_INVALID": http.StatusBadRequest,
	"RANGE_INVALID":             http.StatusRequestedRangeNotSatisfiable,
	"SIZE_INVALID":              http.StatusBadRequest,
	"TOOMANYREQUESTS":           http.StatusTooManyRequests,
	"TAG_INVALID":               http.StatusBadRequest,
	"UNAVAILABLE":               http.StatusServiceUnavailable,
	"UNSUPPORTED":               http.StatusMethodNotAllowed,
}

// refusal is an answer that is no.
type refusal struct {
	code, message string
	detail        any
}

func (r *refusal) Error() string { return r.message }

func refuse(code, format string, args ...any) *refusal {
	return &refusal{code: code, message: fmt.Sprintf(format, args...)}
}

// fail answers with an error in the specification's shape. What is nobody's business
// goes to the log.
func (g *Registry) fail(w http.ResponseWriter, r *http.Request, err error) {
	if denied, ok := errors.AsType[*meta.Refusal](err); ok {
		account.Refuse(w, denied)
		return
	}
	no, ok := errors.AsType[*refusal](err)
	switch {
	case ok:
	case r.Context().Err() != nil || errors.Is(err, context.Canceled):
		return // the client went
	case errors.Is(err, os.ErrDeadlineExceeded):
		no = refuse("UNAVAILABLE", "the connection fell silent")
	default:
		g.cfg.Log.Error("a request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		no = refuse("UNKNOWN", "the hub could not do it; its log says why")
	}
	status, known := statuses[no.code]
	if !known {
		status = http.StatusInternalServerError
	}
	h := w.Header()
	h.Del("Content-Length")
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		h.Set("Retry-After", "5")
	}
	type item struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Detail  any    `json:"detail,omitempty"`
	}
	w.WriteHeader(status)
	code := strings.Replace(no.code, "MANIFEST_TOO_LARGE", "MANIFEST_INVALID", 1)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []item{{code, no.message, no.detail}}})
}

// methods are those of a kind of path, for the Allow header.
func methods(kind string) string {
	return strings.Join(slices.Sorted(maps.Keys(verbs[kind])), ", ")
}

// validName is the specification's grammar of names: parts of [a-z0-9]+ joined by one of
// ". _ __ -+", joined by "/"; at most 255 bytes.
func validName(name string) bool {
	if len(name) > 255 {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if !validPart(part) {
			return false
		}
	}
	return true
}

func validPart(part string) bool {
	alnum := func(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
	if part == "" || !alnum(part[0]) || !alnum(part[len(part)-1]) {
		return false
	}
	for i := 0; i < len(part); i++ {
		if alnum(part[i]) {
			continue
		}
		end := i
		for !alnum(part[end]) {
			end++ // the last one is
		}
		joint := part[i:end]
		if joint != "." && joint != "_" && joint != "__" && strings.Trim(joint, "-") != "" {
			return false
		}
		i = end
	}
	return true
}

// validTag is the specification's grammar of tags.
func validTag(tag string) bool {
	if tag == "" || len(tag) > 128 || tag[0] == '.' || tag[0] == '-' {
		return false
	}
	return !strings.ContainsFunc(tag, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != '-'
	})
}

// digestOf reads a digest that a client sent.
func digestOf(s string) (oci.Digest, error) {
	d, err := oci.ParseDigest(s)
	if err == nil && blob.Hashes[d.Algorithm()] == nil {
		err = oci.ErrDigestAlgorithm
	}
	if err != nil {
		return "", refuse("DIGEST_INVALID", "digest %.150q: %v", s, err)
	}
	return d, nil
}
