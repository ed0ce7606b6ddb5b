package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"lighter/engine/dns"
	"lighter/engine/network"
	"lighter/engine/proxy"
	"lighter/kernel"
)

// claims is where all engines of a network namespace say which subnets they have: a folder
// of the namespace's name. A restart of the machine empties it.
const claims = "/run/lighter.networks"

// netConfig is what the engine is told of networks.
type netConfig struct {
	Bridge    string     `json:"bridge"`
	IP        string     `json:"bip"`
	IP6       string     `json:"bip6"`
	Fixed     string     `json:"fixed-cidr"`
	Fixed6    string     `json:"fixed-cidr-v6"`
	Gateway   string     `json:"default-gateway"`
	Gateway6  string     `json:"default-gateway-v6"`
	Binding   string     `json:"ip"`
	IPv6      bool       `json:"ipv6"`
	ICC       bool       `json:"icc"`
	Forward   bool       `json:"ip-forward"`
	Masq      bool       `json:"ip-masq"`
	MTU       int        `json:"mtu"`
	Pools     poolFlag   `json:"default-address-pools"`
	Opts      netOptFlag `json:"default-network-opts"`
	Proxy     bool       `json:"userland-proxy"`
	Firewall  string     `json:"firewall"`
	IPTables  bool       `json:"iptables"`
	IP6Tables bool       `json:"ip6tables"`
	DNS       []string   `json:"dns"`
	DNSOpts   []string   `json:"dns-opts"`
	DNSSearch []string   `json:"dns-search"`
	HostIPs   []string   `json:"host-gateway-ips"`
	HostIP    string     `json:"host-gateway-ip"`
}

func netDefaults() netConfig {
	return netConfig{
		ICC: true, Forward: true, Masq: true, MTU: 1500, Proxy: true, Firewall: "nftables", IPTables: true, IP6Tables: true,
		Binding: "0.0.0.0", Opts: netOptFlag{},
	}
}

func (c *netConfig) flags(f *pflag.FlagSet) {
	f.StringVarP(&c.Bridge, "bridge", "b", "", `Put the default network on this bridge of yours; "none" for no such network`)
	f.StringVar(&c.IP, "bip", "", "The default bridge's own address, with the length of its subnet")
	f.StringVar(&c.IP6, "bip6", "", "The same for IPv6")
	f.StringVar(&c.Fixed, "fixed-cidr", "", "Give addresses of the default bridge from this range")
	f.StringVar(&c.Fixed6, "fixed-cidr-v6", "", "The same for IPv6")
	f.StringVar(&c.Gateway, "default-gateway", "", "Where containers of the default bridge send what leaves it, if not to the bridge")
	f.StringVar(&c.Gateway6, "default-gateway-v6", "", "The same for IPv6")
	f.StringVar(&c.Binding, "ip", c.Binding, "Where ports of the default bridge are published when nothing is said")
	f.BoolVar(&c.IPv6, "ipv6", false, "Have IPv6 on the default bridge")
	f.BoolVar(&c.ICC, "icc", true, "Let containers of the default bridge reach each other")
	f.BoolVar(&c.Forward, "ip-forward", true, "Turn the kernel's forwarding on where networks need it")
	f.BoolVar(&c.Masq, "ip-masq", true, "Give what leaves the default bridge the host's address")
	f.IntVar(&c.MTU, "mtu", c.MTU, "The largest packet of the default bridge, in bytes")
	f.Var(&c.Pools, "default-address-pool", "A base=CIDR,size=BITS range that networks take subnets from; may be given several times")
	f.Var(c.Opts, "default-network-opt", "A default driver=option=value of new networks")
	f.BoolVar(&c.Proxy, "userland-proxy", true, "Listen on published ports, for what no rule can redirect")
	f.StringVar(&c.Firewall, "firewall", c.Firewall, "nftables, or none: then no rule is ever made")
	f.BoolVar(&c.IPTables, "iptables", true, "false means --firewall=none")
	f.BoolVar(&c.IP6Tables, "ip6tables", true, "false only together with --iptables=false")
	f.StringArrayVar(&c.DNS, "dns", nil, "A name server for containers")
	f.StringArrayVar(&c.DNSOpts, "dns-opt", nil, "An option of containers' resolv.conf")
	f.StringArrayVar(&c.DNSSearch, "dns-search", nil, "A domain in which containers look for names")
	f.StringArrayVar(&c.HostIPs, "host-gateway-ip", nil, "What host-gateway stands for in --add-host (default: the default bridge's address)")
}

// settings checks the options, and gives what they mean to networks.
func (c *netConfig) settings(execRoot, seed string) (network.Config, error) {
	n := network.Config{
		Bridge: c.Bridge, Own: c.Bridge == "", IPv6: c.IPv6, ICC: c.ICC, Masquerade: c.Masq, MTU: c.MTU, Pools: c.Pools, Options: c.Opts,
		Forward: c.Forward, Proxy: c.Proxy, Firewall: c.Firewall == "nftables" && c.IPTables, Seed: seed,
	}
	n.PortFirst, n.PortLast = localPorts(readLine("/proc/sys/net/ipv4/ip_local_port_range"))
	_, err := os.Stat("/proc/net/if_inet6")
	n.HostIPv6 = err == nil
	if n.Own {
		n.Bridge = bridgeName(execRoot)
	}
	for _, row := range []struct {
		name, text string
		into       *netip.Prefix
	}{{"bip", c.IP, &n.IP}, {"bip6", c.IP6, &n.IP6}, {"fixed-cidr", c.Fixed, &n.Fixed}, {"fixed-cidr-v6", c.Fixed6, &n.Fixed6}} {
		if row.text == "" {
			continue
		}
		if *row.into, err = netip.ParsePrefix(row.text); err != nil || row.into.Addr().Is6() != strings.HasSuffix(row.name, "6") {
			return n, fmt.Errorf("--%s: %q is no address and length of its family", row.name, row.text)
		}
	}
	for _, row := range []struct {
		name, text string
		into       *netip.Addr
	}{{"default-gateway", c.Gateway, &n.Gateway}, {"default-gateway-v6", c.Gateway6, &n.Gateway6}, {"ip", c.Binding, &n.Binding}} {
		if row.text == "" {
			continue
		}
		if *row.into, err = netip.ParseAddr(row.text); err != nil {
			return n, fmt.Errorf("--%s: %q is no address", row.name, row.text)
		}
	}
	ips := c.HostIPs
	if c.HostIP != "" {
		ips = append(ips, c.HostIP)
	}
	for _, text := range ips {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return n, fmt.Errorf("--host-gateway-ip: %q is no address", text)
		}
		n.HostIPs = append(n.HostIPs, a)
	}
	return n, c.contradictions()
}

func (c *netConfig) contradictions() error {
	switch {
	case c.Bridge != "" && c.IP != "":
		return errors.New("You specified -b & --bip, mutually exclusive options. Please specify only one")
	case c.Bridge != "" && c.IP6 != "":
		return errors.New("You specified -b & --bip6, mutually exclusive options. Please specify only one")
	case !c.ICC && !c.IPTables:
		return errors.New("You specified --iptables=false with --icc=false. ICC=false uses iptables to function. Please set --icc or --iptables to true")
	case c.IPTables && !c.IP6Tables:
		return errors.New("--ip6tables=false goes with --iptables=false only: there is one firewall for both families")
	case c.Firewall != "nftables" && c.Firewall != "none":
		return fmt.Errorf("unknown firewall %q: it is nftables or none", c.Firewall)
	case c.MTU < 68 || c.MTU > 65535:
		return fmt.Errorf("--mtu=%d: it is between 68 and 65535", c.MTU)
	}
	for _, s := range c.DNS {
		if _, err := netip.ParseAddr(s); err != nil {
			return fmt.Errorf("--dns: %q is no address", s)
		}
	}
	return nil
}

// bridgeName is that of an engine's default network: engines side by side have one each.
func bridgeName(execRoot string) string {
	if execRoot == defaultExec {
		return "lighter0"
	}
	return fmt.Sprintf("lighter%.4x", sha256.Sum256([]byte(execRoot)))
}

func localPorts(line string) (first, last uint16) {
	f := strings.Fields(line)
	if len(f) != 2 {
		return 0, 0
	}
	a, err := strconv.ParseUint(f[0], 10, 16)
	z, err2 := strconv.ParseUint(f[1], 10, 16)
	if err != nil || err2 != nil {
		return 0, 0
	}
	return uint16(a), uint16(z)
}

// poolFlag collects ranges that subnets are cut from.
type poolFlag []network.Split

func (p *poolFlag) String() string { return fmt.Sprint([]network.Split(*p)) }

// Type is the word for the value in the help.
func (p *poolFlag) Type() string { return "pool" }

// Set adds base=CIDR,size=BITS.
func (p *poolFlag) Set(s string) error {
	var base string
	size := -1
	for part := range strings.SplitSeq(s, ",") {
		key, value, _ := strings.Cut(part, "=")
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "base":
			base = strings.TrimSpace(value)
		case "size":
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				return fmt.Errorf("invalid size %q", value)
			}
			size = n
		default:
			return fmt.Errorf("unexpected key '%s' in '%s'", key, part)
		}
	}
	return p.add(base, size)
}

func (p *poolFlag) add(base string, size int) error {
	b, err := netip.ParsePrefix(base)
	if err != nil {
		return fmt.Errorf("invalid base prefix %q: %w", base, err)
	}
	if size < b.Bits() || size > b.Addr().BitLen() {
		return fmt.Errorf("size %d of pool %s: it is between %d and %d", size, base, b.Bits(), b.Addr().BitLen())
	}
	*p = append(*p, network.Split{Base: b.Masked(), Size: size})
	return nil
}

// UnmarshalJSON reads [{"base": CIDR, "size": BITS}, …].
func (p *poolFlag) UnmarshalJSON(raw []byte) error {
	var list []struct {
		Base string
		Size int
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	for _, l := range list {
		if err := p.add(l.Base, l.Size); err != nil {
			return err
		}
	}
	return nil
}

// netOptFlag collects driver=option=value.
type netOptFlag map[string]map[string]string

func (o netOptFlag) String() string { return fmt.Sprint(map[string]map[string]string(o)) }

// Type is the word for the value in the help.
func (o netOptFlag) Type() string { return "opt" }

// Set adds one option.
func (o netOptFlag) Set(s string) error {
	driver, rest, ok := strings.Cut(s, "=")
	key, value, ok2 := strings.Cut(rest, "=")
	if !ok || !ok2 || driver == "" || key == "" {
		return fmt.Errorf("invalid default network options format: %q is not driver=option=value", s)
	}
	if o[driver] == nil {
		o[driver] = map[string]string{}
	}
	o[driver][key] = value
	return nil
}

// doors listens on published ports of the host.
func (p *parts) doors() *proxy.Proxy {
	if p.config.outside == nil {
		return proxy.New(nil)
	}
	return proxy.New(p.config.outside)
}

// openNetworks reads the networks. Nothing is made in the kernel before a container needs it.
func (p *parts) openNetworks(ctx context.Context) error {
	id, err := engineID(p.root.Path())
	if err != nil {
		return err
	}
	config, err := p.config.Net.settings(p.config.ExecRoot, id)
	if err != nil {
		return err
	}
	table := ""
	if config.Firewall {
		table = kernel.TableName(p.config.ExecRoot, defaultExec)
	}
	space, err := kernel.SpaceName()
	if err != nil {
		return err
	}
	claims := claims
	if rootless() { // whose network namespace has this engine alone
		claims = filepath.Join(p.config.ExecRoot, "claims")
	}
	if err := network.SweepClaims(claims, kernel.SpaceInUse); err != nil {
		slog.Warn(err.Error())
	}
	machine := kernel.NewNetwork(table, func(err error) { slog.Warn("firewall: " + err.Error()) })
	p.later(machine.Close)
	p.networks, err = network.New(ctx, network.Deps{
		Ctx: context.WithoutCancel(ctx),
		Dir: p.root.Path("networks"), Notes: p.config.ExecRoot + "/networks", Claims: filepath.Join(claims, space), Table: table, Events: p.events,
		Kernel: machine, Names: dns.New(p.config.dial), Doors: p.doors(), Inside: machine, Graves: machine, Config: config, HostDNS: dns.NewHost(),
	})
	if err != nil {
		return err
	}
	p.later(p.networks.Close)
	return nil
}
