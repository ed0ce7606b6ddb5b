package server

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"lighter/api"
	"lighter/engine/event"
)

// system answers for the engine as a whole.
type system struct {
	s *Server
}

func (sys *system) ping(w http.ResponseWriter, r *request) error {
	h := w.Header()
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Builder-Version", sys.s.builder())
	h.Set("Swarm", "inactive")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if r.Method == http.MethodHead {
		h.Set("Content-Length", "0")
		return nil
	}
	_, _ = w.Write([]byte("OK"))
	return nil
}

// builder tells clients which builder to ask for: 2 is BuildKit's protocol.
func (s *Server) builder() string {
	if s.config.BuildKit == nil {
		return "1"
	}
	return "2"
}

func (sys *system) version(w http.ResponseWriter, _ *request) error {
	return writeJSON(w, http.StatusOK, sys.s.config.Version)
}

// webLink makes an address that signs a browser in at the dashboard, once.
func (sys *system) webLink(w http.ResponseWriter, r *request) error {
	if err := r.grant.whole("open the dashboard, where all may be done"); err != nil {
		return err
	}
	if sys.s.config.Link == nil {
		return api.Errorf(api.Unavailable, "this engine serves no dashboard: start it as lighterd --web 127.0.0.1:8080")
	}
	link, err := sys.s.config.Link()
	return ok(w, link, err)
}

// oldInfo is what GET /info showed besides, before API 1.50.
type oldInfo struct {
	api.Info
	RegistryConfig    oldRegistries
	BridgeNfIptables  bool
	BridgeNfIP6tables bool `json:"BridgeNfIp6tables"`
}

type oldRegistries struct {
	*api.RegistryConfig
	CIDRs     *[]string `json:"AllowNondistributableArtifactsCIDRs,omitempty"`
	Hostnames *[]string `json:"AllowNondistributableArtifactsHostnames,omitempty"`
}

func (sys *system) info(w http.ResponseWriter, r *request) error {
	info, err := sys.s.config.Info(r.Context())
	if err != nil {
		return err
	}
	info.SystemTime = time.Now().Format(time.RFC3339Nano)
	if r.older("1.25") {
		for i, opt := range info.SecurityOptions {
			name, _, _ := strings.Cut(strings.TrimPrefix(opt, "name="), ",")
			info.SecurityOptions[i] = name
		}
	}
	if !r.older("1.42") {
		info.KernelMemory = false
	}
	if r.older("1.44") {
		for name, rt := range info.Runtimes {
			rt.Status = nil
			info.Runtimes[name] = rt
		}
	}
	if r.older("1.49") {
		info.FirewallBackend = nil
		for _, c := range []*api.ProgramCommit{&info.ContainerdCommit, &info.RuncCommit, &info.InitCommit} {
			c.Expected = c.ID
		}
	}
	if r.older("1.50") {
		old := oldInfo{Info: info, RegistryConfig: oldRegistries{RegistryConfig: info.RegistryConfig}}
		if r.older("1.47") {
			old.RegistryConfig.CIDRs, old.RegistryConfig.Hostnames = new([]string), new([]string)
		}
		return writeJSON(w, http.StatusOK, old)
	}
	return writeJSON(w, http.StatusOK, info)
}

func (sys *system) events(w http.ResponseWriter, r *request) error {
	var q event.Query
	var err error
	if q.Since, err = eventTime(r.query.Get("since")); err != nil {
		return err
	}
	if q.Until, err = eventTime(r.query.Get("until")); err != nil {
		return err
	}
	if !q.Until.IsZero() && q.Until.Before(q.Since) {
		return api.Errorf(api.Invalid, "`since` time (%s) cannot be after `until` time (%s)", r.query.Get("since"), r.query.Get("until"))
	}
	if q.Filters, err = r.ownFilters(); err != nil {
		return err
	}
	ctx, cancel := untilStop(r.Context())
	defer cancel()
	list, err := sys.s.config.Events.Subscribe(ctx, q)
	if err != nil {
		return err
	}
	out := startStream(w, "application/json")
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for e := range list {
		if r.older("1.46") && e.Type == "image" && e.Action == "create" {
			continue // unknown before
		}
		if enc.Encode(e) != nil {
			return nil // the client left
		}
	}
	return nil
}

// eventTime reads seconds since 1970, with up to nine digits behind a dot.
func eventTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	sec, frac, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(sec, 10, 64)
	if err != nil {
		return time.Time{}, api.Errorf(api.Invalid, "%w", err)
	}
	nanos := int64(0)
	if frac != "" {
		if len(frac) > 9 {
			frac = frac[:9]
		}
		if nanos, err = strconv.ParseInt(frac+strings.Repeat("0", 9-len(frac)), 10, 64); err != nil {
			return time.Time{}, api.Errorf(api.Invalid, "%w", err)
		}
	}
	return time.Unix(n, nanos), nil
}
