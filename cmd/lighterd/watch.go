package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/spf13/pflag"

	"lighter/linux/proc"
	"lighter/policy"
	"lighter/server"
)

// watchConfig is who may ask for what, and where that is noted: docs/security.md.
type watchConfig struct {
	Policy string `json:"policy"`
	Audit  string `json:"audit"`
	Strict bool   `json:"audit-strict"`
}

func (w *watchConfig) flags(f *pflag.FlagSet) {
	f.StringVar(&w.Policy, "policy", "", "A file that says which certificate, user or group may ask for what; SIGHUP reads it again")
	f.StringVar(&w.Audit, "audit", "", "A file that gets a line of JSON for each request that changes something; SIGHUP opens it anew")
	f.BoolVar(&w.Strict, "audit-strict", false, "Change nothing that could not be noted in the audit log before")
}

// load reads the policy, nil when there is none.
func (w *watchConfig) load() (*policy.Policy, error) {
	if w.Strict && w.Audit == "" {
		return nil, errors.New("--audit-strict needs --audit")
	}
	if w.Policy == "" {
		return nil, nil
	}
	text, err := os.ReadFile(w.Policy)
	if err != nil {
		return nil, fmt.Errorf("read the policy: %w", err)
	}
	p, err := policy.Parse(text, server.Routes())
	if err != nil {
		return nil, fmt.Errorf("the policy %s: %w", w.Policy, err)
	}
	return p, nil
}

// openWatch opens what looks at requests.
func (p *parts) openWatch(to *server.Config) (err error) {
	w := &p.config.watchConfig
	if to.Policy, err = w.load(); err != nil {
		return err
	}
	if w.Audit != "" {
		if p.audit, err = server.OpenAudit(w.Audit, w.Strict); err != nil {
			return err
		}
		p.later(p.audit.Close)
		to.Audit = p.audit
	}
	to.Peer = func(conn net.Conn) (policy.Who, error) {
		peer, err := proc.PeerOf(conn)
		if err == nil && peer.PID == os.Getpid() {
			return policy.Who{Engine: true}, nil
		}
		return policy.Who{Local: err == nil, PID: peer.PID, UID: peer.UID, GIDs: peer.GIDs}, err
	}
	return nil
}

// reloadWatch takes the policy of another configuration, and opens the audit log anew. That there is a
// policy, or an audit log, changes with the engine's next start alone.
func (p *parts) reloadWatch(c *config) error {
	next, err := c.watchConfig.load()
	if err != nil {
		return err
	}
	if (next == nil) != (p.config.Policy == "") || c.Audit != p.config.Audit || c.Strict != p.config.Strict {
		slog.Warn("whether there are --policy and --audit changes when the engine starts anew")
	}
	if next != nil && p.config.Policy != "" {
		p.server.SetPolicy(next)
	}
	if p.audit != nil {
		return p.audit.Reopen()
	}
	return nil
}
