package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// peer is another engine: the command line that drives it, by whole words.
type peer struct {
	name string
	cli  []string
}

// parsePeers reads "docker=unix://… podman=/usr/bin/podman". One without a name is docker.
func parsePeers(text string) (peers []peer, err error) {
	taken := map[string]bool{"lighter": true}
	for word := range strings.FieldsSeq(text) {
		name, where, ok := strings.Cut(word, "=")
		if !ok {
			name, where = "docker", word
		}
		if name == "" || where == "" || taken[name] {
			return nil, fmt.Errorf("-peer %q: engines have different names, none of them lighter, and a socket (unix://…) or a program", word)
		}
		taken[name] = true
		p := peer{name: name, cli: []string{where}}
		if strings.Contains(where, "://") {
			p.cli = []string{"docker", "-H", where}
		} else if _, err := exec.LookPath(where); err != nil {
			return nil, fmt.Errorf("-peer %q: %w", word, err)
		}
		peers = append(peers, p)
	}
	return peers, nil
}

// version is that of the engine, not of its client.
func (p peer) version(ctx context.Context) (string, error) {
	for _, format := range []string{"{{.Server.Version}}", "{{.Client.Version}}"} { // podman without a server has the second alone
		out, err := exec.CommandContext(ctx, p.cli[0], append(p.cli[1:len(p.cli):len(p.cli)], "version", "--format", format)...).Output()
		if version := strings.TrimSpace(string(out)); err == nil && version != "" && version != "<no value>" {
			if len(p.cli) > 1 {
				return version + ", by Docker's client", nil
			}
			return version, nil
		}
	}
	return "", fmt.Errorf("%s does not answer: %s version", p.name, strings.Join(p.cli, " "))
}
