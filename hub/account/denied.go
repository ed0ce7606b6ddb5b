package account

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"lighter/hub/meta"
)

// Refuse answers a request with an error: a refusal in the shape that the distribution
// spec and clients of token servers read, any other one as a fault of the hub.
func Refuse(w http.ResponseWriter, refusal *meta.Refusal) {
	h := w.Header()
	if refusal.Challenge != "" {
		h.Set("WWW-Authenticate", refusal.Challenge)
	}
	if refusal.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((refusal.RetryAfter+time.Second-1)/time.Second)))
	}
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(refusal.Status)
	type item struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Detail  any    `json:"detail"`
	}
	// Docker reads `errors` from a registry, and `details` from its hub's token server; where
	// a registry's answer has both, it takes it for one of a kind that it does not know.
	details := ""
	if refusal.Status == http.StatusUnauthorized || refusal.Status == http.StatusTooManyRequests {
		details = refusal.Message
	}
	_ = json.NewEncoder(w).Encode(struct {
		Errors  []item `json:"errors"`
		Details string `json:"details,omitempty"`
	}{[]item{{refusal.Code, refusal.Message, nil}}, details})
}

func refuse(status int, code, format string, args ...any) *meta.Refusal {
	return &meta.Refusal{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

func unauthorized(challenge, format string, args ...any) *meta.Refusal {
	r := refuse(http.StatusUnauthorized, "UNAUTHORIZED", format, args...)
	r.Challenge = challenge
	return r
}

func forbidden(format string, args ...any) *meta.Refusal {
	return refuse(http.StatusForbidden, "DENIED", format, args...)
}

// unknown is the answer for a repository that is not there or that is not to be seen.
func unknown(repo string) *meta.Refusal {
	return refuse(http.StatusNotFound, "NAME_UNKNOWN", "repository %s is not there, or not yours to see", repo)
}

func invalid(format string, args ...any) *meta.Refusal {
	return refuse(http.StatusBadRequest, "INVALID", format, args...)
}

func conflict(format string, args ...any) *meta.Refusal {
	return refuse(http.StatusConflict, "CONFLICT", format, args...)
}

func missing(format string, args ...any) *meta.Refusal {
	return refuse(http.StatusNotFound, "NOT_FOUND", format, args...)
}

func later(status int, code string, retry time.Duration, what string) *meta.Refusal {
	retry = max(retry.Round(time.Second), time.Second)
	r := refuse(status, code, "%s: try again in %s", what, retry)
	r.RetryAfter = retry
	return r
}

// challenge is the header that tells a client where tokens are to be had, and for what.
func challenge(realm, service, repo string, actions []string, why string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Bearer realm=%q,service=%q", realm, service)
	if repo != "" {
		fmt.Fprintf(&b, ",scope=%q", "repository:"+repo+":"+strings.Join(actions, ","))
	}
	if why != "" {
		fmt.Fprintf(&b, ",error=%q", why)
	}
	return b.String()
}
