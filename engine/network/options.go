package network

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"lighter/api"
)

// options is what a network's driver options mean.
type options struct {
	Bridge      string // name of the bridge
	MTU         int
	Masquerade  bool
	ICC         bool
	InhibitIPv4 bool
	Mode4       string // nat, nat-unprotected, routed or isolated
	Mode6       string
	Binding     netip.Addr // where ports are published by default; invalid: everywhere
	Source4     netip.Addr // what to masquerade as
	Source6     netip.Addr
	Trusted     []string // interfaces of the host from which published ports are open to direct access
	Prefix      string   // of the interfaces' names inside
	Default     bool     // it is the engine's own bridge
	Parent      string   // of macvlan and ipvlan
	Mode        string   // of macvlan and ipvlan
	Flag        string   // of ipvlan
}

// Names of driver options.
const (
	optPrefix     = "com.docker.network."
	optName       = optPrefix + "bridge.name"
	optMasquerade = optPrefix + "bridge.enable_ip_masquerade"
	optICC        = optPrefix + "bridge.enable_icc"
	optBinding    = optPrefix + "bridge.host_binding_ipv4"
	optDefault    = optPrefix + "bridge.default_bridge"
	optInhibit    = optPrefix + "bridge.inhibit_ipv4"
	optMode4      = optPrefix + "bridge.gateway_mode_ipv4"
	optMode6      = optPrefix + "bridge.gateway_mode_ipv6"
	optTrusted    = optPrefix + "bridge.trusted_host_interfaces"
	optMTU        = optPrefix + "driver.mtu"
	optIface      = optPrefix + "container_iface_prefix"
	optHost4      = optPrefix + "host_ipv4"
	optHost6      = optPrefix + "host_ipv6"
	optIPv4       = optPrefix + "enable_ipv4"
	optIPv6       = optPrefix + "enable_ipv6"
)

func isBool(into *bool) func(string) error {
	return func(v string) (err error) {
		*into, err = strconv.ParseBool(v)
		return err
	}
}

func isMode(into *string) func(string) error {
	return func(v string) error {
		if !slices.Contains([]string{"nat", "nat-unprotected", "routed", "isolated"}, v) {
			return api.Errorf(api.Invalid, "unknown gateway mode %s", v)
		}
		*into = v
		return nil
	}
}

func isAddr(into *netip.Addr) func(string) error {
	return func(v string) error {
		a, err := netip.ParseAddr(v)
		if err != nil {
			return api.Errorf(api.Invalid, "nil ip")
		}
		*into = a.Unmap()
		return nil
	}
}

// parseOptions reads the options of a network's driver. Those that no driver knows are kept
// and mean nothing, as with Docker.
func parseOptions(r *record) (options, error) {
	o := options{Masquerade: true, ICC: true, Prefix: "eth"}
	if r.ConfigOnly {
		return o, nil
	}
	var v4, v6 bool
	known := map[string]func(string) error{}
	switch r.Driver {
	case "bridge":
		known = map[string]func(string) error{
			optName: func(v string) error { o.Bridge = v; return nil }, optMasquerade: isBool(&o.Masquerade), optICC: isBool(&o.ICC),
			optBinding: isAddr(&o.Binding), optDefault: isBool(&o.Default), optInhibit: isBool(&o.InhibitIPv4),
			optMode4: isMode(&o.Mode4), optMode6: isMode(&o.Mode6), optHost4: isAddr(&o.Source4), optHost6: isAddr(&o.Source6),
			optTrusted: func(v string) error {
				o.Trusted = strings.FieldsFunc(v, func(c rune) bool { return c == ':' })
				return nil
			},
			optIPv4: isBool(&v4), optIPv6: isBool(&v6),
			optMTU:   func(v string) (err error) { o.MTU, err = strconv.Atoi(v); return err },
			optIface: func(v string) error { o.Prefix = v; return nil },
		}
	case "macvlan", "ipvlan":
		known = map[string]func(string) error{
			"parent":           func(v string) error { o.Parent = v; return nil },
			r.Driver + "_mode": func(v string) error { o.Mode = v; return nil },
			optMTU:             func(v string) (err error) { o.MTU, err = strconv.Atoi(v); return err },
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Options)) {
		if read := known[name]; read != nil {
			if err := read(r.Options[name]); err != nil {
				return o, api.Errorf(api.Invalid, "failed to parse %s value: %v (%w)", name, r.Options[name], err)
			}
		}
	}
	if r.Driver == "bridge" {
		return o, o.checkBridge(r)
	}
	return o, o.checkParent(r)
}

// what a bridge can have
const minMTU, maxMTU = 68, 65535

func (o *options) checkBridge(r *record) error {
	if o.Bridge == "" {
		o.Bridge = "br-" + short(r.ID)
	}
	if len(o.Bridge) > 15 {
		return api.Errorf(api.Invalid, "invalid bridge name %q: an interface's name has at most 15 characters", o.Bridge)
	}
	if len(o.Prefix) > 12 || o.Prefix == "" {
		return api.Errorf(api.Invalid, "invalid %s %q: it has 1 to 12 characters", optIface, o.Prefix)
	}
	if mtu := r.Options[optMTU]; mtu != "" && o.MTU >= 0 && (o.MTU < minMTU && o.MTU != 0 || o.MTU > maxMTU) {
		return api.Errorf(api.Internal, "invalid MTU number: %d: a bridge's is between %d and %d", o.MTU, minMTU, maxMTU)
	}
	isolated := o.Mode4 == "isolated" || o.Mode6 == "isolated"
	switch {
	case isolated && !r.Internal:
		return api.Errorf(api.Internal, "gateway mode 'isolated' can only be used for an internal network")
	case o.MTU < 0:
		return api.Errorf(api.Invalid, "invalid MTU number: %d", o.MTU)
	}
	return nil
}

// modes of macvlan and ipvlan, the default first.
var modes = map[string][]string{
	"macvlan": {"bridge", "private", "vepa", "passthru"},
	"ipvlan":  {"l2", "l3", "l3s"},
}

var ipvlanFlags = []string{"bridge", "private", "vepa"}

func (o *options) checkParent(r *record) error {
	allowed := modes[r.Driver]
	if allowed == nil {
		return nil
	}
	if o.Mode == "" {
		o.Mode = allowed[0]
	}
	if !slices.Contains(allowed, o.Mode) {
		return api.Errorf(api.Internal, "requested %s mode '%s' is not valid, '%s' mode is the %s driver default", r.Driver, o.Mode, allowed[0], r.Driver)
	}
	if flag := r.Options["ipvlan_flag"]; r.Driver == "ipvlan" && flag != "" {
		if !slices.Contains(ipvlanFlags, flag) {
			return api.Errorf(api.Internal, "requested ipvlan flag '%s' is not valid, 'bridge' is the ipvlan driver default", flag)
		}
		o.Flag = flag
	}
	if o.Parent == "lo" {
		return api.Errorf(api.Internal, "loopback interface is not a valid %s parent link", r.Driver)
	}
	if o.Parent == "" { // nobody but its own containers
		o.Parent = map[string]string{"macvlan": "dm-", "ipvlan": "di-"}[r.Driver] + short(r.ID)
	}
	return nil
}

// gatewayless reports whether the network needs no address of its own in a family.
func (o *options) gatewayless(r *record, v6 bool) bool {
	if r.Driver != "bridge" {
		return r.Internal || r.Options["parent"] == ""
	}
	if v6 {
		return o.Mode6 == "isolated"
	}
	return o.Mode4 == "isolated" || o.InhibitIPv4 && r.Internal
}

// randomMAC gives a unicast, locally administered address.
func randomMAC() string {
	b := make(net.HardwareAddr, 6)
	randomBytes(b)
	b[0] = b[0]&0xfe | 2
	return b.String()
}

func validMAC(s string) error {
	if mac, err := net.ParseMAC(s); err != nil || len(mac) != 6 {
		return api.Errorf(api.Invalid, "invalid MAC address %s", s)
	}
	return nil
}
