package container

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"lighter/api"
	"lighter/engine/dns"
	"lighter/engine/network"
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

// writeEtc writes /etc/hosts, hostname and resolv.conf anew, as every start does and every
// change of networks.
func (d *Deps) writeEtc(c *container, s *snapshot, ends []*network.Endpoint, links []link) error {
	hosts, err := d.hostsText(s, ends, links)
	if err != nil {
		return err
	}
	resolv, err := d.resolvText(s.Host, ends)
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

func (d *Deps) hostsText(s *snapshot, ends []*network.Endpoint, links []link) (string, error) {
	h := s.Host
	text := localNames
	if h.NetworkMode == "host" {
		b, err := os.ReadFile("/etc/hosts")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("read the host's names: %w", err)
		}
		text = string(b)
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
	}
	for _, extra := range h.ExtraHosts {
		name, ip, _ := strings.Cut(extra, ":")
		if ip != "host-gateway" {
			text += ip + "\t" + name + "\n"
			continue
		}
		ips := d.Networks.HostIPs()
		if len(ips) == 0 {
			return "", api.Errorf(api.Invalid, "unable to derive the IP value for host-gateway")
		}
		for _, ip := range ips {
			text += ip.String() + "\t" + name + "\n"
		}
	}
	names := s.Config.Hostname
	if s.Config.Domainname != "" {
		names = names + "." + s.Config.Domainname + " " + names
	}
	for _, e := range ends {
		for _, a := range []netip.Prefix{e.Addr4, e.Addr6} {
			if a.IsValid() {
				text += a.Addr().String() + "\t" + names + "\n"
			}
		}
	}
	for _, l := range links {
		text += l.hosts()
	}
	return text, nil
}

// resolvConf is a container's configuration of names, before what its networks make of it.
func (d *Deps) resolvConf(h *api.HostConfig) (dns.Conf, error) {
	conf, err := d.HostDNS.Conf()
	if err != nil {
		return conf, fmt.Errorf("read the host's resolv.conf: %w", err)
	}
	first := func(own, engine []string) []string {
		if len(own) > 0 {
			return own
		}
		return engine
	}
	conf, err = conf.With(first(h.DNS, d.Defaults.DNS), first(h.DNSSearch, d.Defaults.DNSSearch), first(h.DNSOptions, d.Defaults.DNSOptions))
	if err != nil {
		return conf, api.Errorf(api.Invalid, "%w", err)
	}
	return conf, nil
}

func (d *Deps) resolvText(h *api.HostConfig, ends []*network.Endpoint) (string, error) {
	conf, err := d.resolvConf(h)
	if err != nil {
		return "", err
	}
	ipv6, internal := false, false
	for _, e := range ends {
		ipv6 = ipv6 || e.Addr6.IsValid()
		internal = internal || e.Iface != "" && network.UserDefined(e.Name)
	}
	switch {
	case internal:
		conf = conf.Internal()
	case h.NetworkMode != "host":
		conf = conf.Bridge(ipv6)
	}
	return conf.Text(), nil
}
