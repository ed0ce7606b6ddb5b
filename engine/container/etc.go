package container

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"lighter/api"
)

// file is one of the container's own files that lies over one of its image.
type file struct{ inside, source string }

// The files of /etc that each container has of its own, in its folder.
const (
	hostsFile    = "hosts"
	hostnameFile = "hostname"
	resolvFile   = "resolv.conf"
)

func etcFiles(c *container) []file {
	return []file{
		{"/etc/resolv.conf", c.path(resolvFile)},
		{"/etc/hostname", c.path(hostnameFile)},
		{"/etc/hosts", c.path(hostsFile)},
	}
}

// writeEtc writes /etc/hosts, hostname and resolv.conf anew, as every start does.
func (c *container) writeEtc(s *snapshot) error {
	hosts, err := hostsText(s.Host)
	if err != nil {
		return err
	}
	resolv, err := resolvText(s.Host)
	if err != nil {
		return err
	}
	for _, f := range []struct{ name, text string }{{hostsFile, hosts}, {hostnameFile, s.Config.Hostname + "\n"}, {resolvFile, resolv}} {
		// In place: a container that shares the file keeps seeing it, and what a crash
		// leaves half-written the next start writes again.
		if err := os.WriteFile(c.path(f.name), []byte(f.text), 0o644); err != nil {
			return fmt.Errorf("write %s: %w", f.name, err)
		}
	}
	return nil
}

const localNames = `127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::	ip6-localnet
ff00::	ip6-mcastprefix
ff02::1	ip6-allnodes
ff02::2	ip6-allrouters
`

func hostsText(h *api.HostConfig) (string, error) {
	text := localNames
	if h.NetworkMode == "host" {
		b, err := os.ReadFile("/etc/hosts")
		if err != nil {
			return "", fmt.Errorf("read the host's names: %w", err)
		}
		text = string(b)
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
	}
	for _, extra := range h.ExtraHosts {
		name, ip, _ := strings.Cut(extra, ":")
		if ip == "host-gateway" {
			return "", api.Errorf(api.Invalid, "unable to derive the IP value for host-gateway")
		}
		text += ip + "\t" + name + "\n"
	}
	return text, nil
}

// resolvText is the host's resolv.conf without servers that the container cannot
// reach, and with what the user says instead.
func resolvText(h *api.HostConfig) (string, error) {
	b, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && !os.IsNotExist(err) {
		return "", fmt.Errorf("read the host's resolv.conf: %w", err)
	}
	servers, search, options := parseResolv(string(b))
	own := h.NetworkMode != "host"
	if own && len(servers) == 1 && servers[0] == "127.0.0.53" {
		// systemd's stub listens on the host's loopback alone; the servers behind it stand here.
		if b, err := os.ReadFile("/run/systemd/resolve/resolv.conf"); err == nil {
			servers, search, options = parseResolv(string(b))
		}
	}
	if own {
		servers = slices.DeleteFunc(servers, func(s string) bool {
			a, err := netip.ParseAddr(s)
			return err == nil && a.IsLoopback()
		})
		if len(servers) == 0 {
			servers = []string{"8.8.8.8", "8.8.4.4"}
		}
	}
	if len(h.DNS) > 0 {
		servers = h.DNS
	}
	if len(h.DNSSearch) > 0 {
		search = h.DNSSearch
	}
	if len(h.DNSOptions) > 0 {
		options = h.DNSOptions
	}
	var t strings.Builder
	t.WriteString("# Made by lighter from the host's /etc/resolv.conf, anew at each start.\n")
	for _, s := range servers {
		t.WriteString("nameserver " + s + "\n")
	}
	if len(search) > 0 && !(len(search) == 1 && search[0] == ".") {
		t.WriteString("search " + strings.Join(search, " ") + "\n")
	}
	if len(options) > 0 {
		t.WriteString("options " + strings.Join(options, " ") + "\n")
	}
	return t.String(), nil
}

func parseResolv(text string) (servers, search, options []string) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			servers = append(servers, f[1])
		case "search", "domain":
			search = f[1:]
		case "options":
			options = append(options, f[1:]...)
		}
	}
	return servers, search, options
}
