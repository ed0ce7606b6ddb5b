package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"lighter/api"
)

// request makes what the flags say into a request, the same as Docker's own client
// makes of them.
func (o *containerFlags) request(f *pflag.FlagSet) (api.CreateContainer, error) {
	var none api.CreateContainer
	if err := o.checkModes(); err != nil {
		return none, err
	}
	config, err := o.config(f)
	if err != nil {
		return none, err
	}
	host, err := o.hostConfig(f)
	if err != nil {
		return none, err
	}
	if err := o.addVolumes(config, host); err != nil {
		return none, err
	}
	if err := o.addPorts(config, host); err != nil {
		return none, err
	}
	if err := o.addDevices(host); err != nil {
		return none, err
	}
	if o.rm && host.RestartPolicy.Name != "" && host.RestartPolicy.Name != "no" {
		return none, errors.New("conflicting options: cannot specify both --restart and --rm")
	}
	endpoints, err := o.endpoints()
	if err != nil {
		return none, err
	}
	if ep := endpoints[host.NetworkMode]; ep != nil {
		config.MacAddress = ep.MacAddress // for engines before API 1.44
	}
	return api.CreateContainer{
		ContainerConfig:  config,
		HostConfig:       host,
		NetworkingConfig: &api.NetworkingConfig{EndpointsConfig: endpoints},
	}, nil
}

// checkModes refuses values that no engine takes.
func (o *containerFlags) checkModes() error {
	_, target, container := strings.Cut(o.pid, "container:")
	container = container && target != "" && strings.HasPrefix(o.pid, "container:")
	switch {
	case o.mac != "" && !validMAC(o.mac):
		return fmt.Errorf("%s is not a valid mac address", o.mac)
	case o.swappiness != -1 && (o.swappiness < 0 || o.swappiness > 100):
		return fmt.Errorf("invalid value: %d. Valid memory swappiness range is 0-100", o.swappiness)
	case o.pid != "" && o.pid != "host" && !container:
		return errors.New("--pid: invalid PID mode")
	case o.uts != "" && o.uts != "host":
		return errors.New("--uts: invalid UTS mode")
	case o.userns != "" && o.userns != "host":
		return errors.New("--userns: invalid USER mode")
	case o.cgroupns != "" && o.cgroupns != "host" && o.cgroupns != "private":
		return errors.New("--cgroupns: invalid CGROUP mode")
	}
	return nil
}

func validMAC(s string) bool {
	_, err := net.ParseMAC(strings.TrimSpace(s))
	return err == nil
}

// attached tells whether the container's stdin, stdout or stderr is to be attached.
func (o *containerFlags) attached(name string) bool {
	for _, a := range o.attach {
		if a == name {
			return true
		}
	}
	if name == "stdin" {
		return o.stdin
	}
	return len(o.attach) == 0
}

func (o *containerFlags) config(f *pflag.FlagSet) (*api.ContainerConfig, error) {
	env, err := readPairs(o.envFiles, lastPairs(o.env), os.LookupEnv)
	if err != nil {
		return nil, err
	}
	labels, err := readPairs(o.labelFiles, o.labels, nil)
	if err != nil {
		return nil, err
	}
	health, err := o.health()
	if err != nil {
		return nil, err
	}
	c := &api.ContainerConfig{
		Hostname: o.hostname, Domainname: o.domainname, User: o.user, Tty: o.tty, OpenStdin: o.stdin,
		AttachStdin: o.attached("stdin"), AttachStdout: o.attached("stdout"), AttachStderr: o.attached("stderr"),
		Env: env, Image: o.image, MacAddress: o.mac, WorkingDir: o.workdir, Labels: pairMap(labels),
		StopSignal: o.stopSignal, Healthcheck: health,
	}
	c.StdinOnce = c.OpenStdin && c.AttachStdin
	if len(o.args) > 0 {
		c.Cmd = o.args
	}
	if f.Changed("entrypoint") {
		c.Entrypoint = api.StrSlice{o.entrypoint} // an empty one takes the image's away
	}
	if f.Changed("stop-timeout") {
		c.StopTimeout = &o.stopTimeout
	}
	return c, nil
}

func (o *containerFlags) hostConfig(f *pflag.FlagSet) (*api.HostConfig, error) {
	restart, err := restartPolicy(o.restart)
	if err != nil {
		return nil, err
	}
	if o.logDriver == "none" && len(o.logOpts) > 0 {
		return nil, fmt.Errorf("invalid logging opts for driver %s", o.logDriver)
	}
	h := &api.HostConfig{
		ContainerIDFile: o.cidfile, OomScoreAdj: o.oomScoreAdj, AutoRemove: o.rm, Privileged: o.privileged,
		Links: o.links, PublishAllPorts: o.publishAll,
		DNS: orEmpty(o.dns), DNSSearch: orEmpty(o.dnsSearch), DNSOptions: orEmpty(o.dnsOptions),
		ExtraHosts: o.extraHosts, VolumesFrom: o.volumesFrom, IpcMode: o.ipc, NetworkMode: o.networks.mode(),
		PidMode: o.pid, UTSMode: o.uts, UsernsMode: o.userns, CgroupnsMode: o.cgroupns,
		CapAdd: o.capAdd, CapDrop: o.capDrop, GroupAdd: o.groupAdd, RestartPolicy: restart,
		ReadonlyRootfs: o.readOnly, LogConfig: api.LogConfig{Type: o.logDriver, Config: pairMap(o.logOpts)},
		VolumeDriver: o.volumeDriver, Isolation: o.isolation, ShmSize: int64(o.shmSize), Resources: o.resources(),
		Sysctls: o.sysctls.values, Runtime: o.runtime, Mounts: o.mounts.values, Annotations: o.annotations.values,
		Tmpfs: map[string]string{}, StorageOpt: map[string]string{},
	}
	for _, t := range o.tmpfs {
		path, options, _ := strings.Cut(t, ":")
		h.Tmpfs[path] = options
	}
	if err := o.addSecurityOpts(h); err != nil {
		return nil, err
	}
	for _, opt := range o.storageOpts {
		k, v, ok := strings.Cut(opt, "=")
		if !ok {
			return nil, errors.New("invalid storage option")
		}
		h.StorageOpt[k] = v
	}
	if f.Changed("init") {
		h.Init = &o.init
	}
	return h, nil
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// restartPolicy reads name[:count].
func restartPolicy(s string) (p api.RestartPolicy, err error) {
	name, count, ok := strings.Cut(s, ":")
	if ok && name == "" {
		return p, errors.New("invalid restart policy format: no policy provided before colon")
	}
	if count != "" {
		if p.MaximumRetryCount, err = strconv.Atoi(count); err != nil {
			return api.RestartPolicy{}, errors.New("invalid restart policy format: maximum retry count must be an integer")
		}
	}
	p.Name = name
	return p, nil
}

// addSecurityOpts reads seccomp profiles, and takes systempaths=unconfined for what it
// means to the engine: no path is masked.
func (o *containerFlags) addSecurityOpts(h *api.HostConfig) error {
	if o.securityOpts != nil {
		h.SecurityOpt = []string{}
	}
	for _, opt := range o.securityOpts {
		k, v, ok := strings.Cut(opt, "=")
		if !ok && k != "no-new-privileges" {
			k, v, ok = strings.Cut(opt, ":")
		}
		if (!ok || v == "") && k != "no-new-privileges" {
			return fmt.Errorf("Invalid --security-opt: %q", opt)
		}
		if k == "seccomp" && v != "builtin" && v != "unconfined" {
			profile, err := os.ReadFile(v)
			if err != nil {
				return fmt.Errorf("opening seccomp profile (%s) failed: %w", v, err)
			}
			var compact bytes.Buffer
			if err := json.Compact(&compact, profile); err != nil {
				return fmt.Errorf("compacting json for seccomp profile (%s) failed: %w", v, err)
			}
			opt = "seccomp=" + compact.String()
		}
		if opt == "systempaths=unconfined" {
			h.MaskedPaths, h.ReadonlyPaths = []string{}, []string{}
			continue
		}
		h.SecurityOpt = append(h.SecurityOpt, opt)
	}
	return nil
}

func (o *containerFlags) health() (*api.Healthcheck, error) {
	any := o.healthCmd != "" || o.healthInterval != 0 || o.healthTimeout != 0 || o.healthStartPeriod != 0 ||
		o.healthRetries != 0 || o.healthStartInterval != 0
	switch {
	case o.noHealthcheck && any:
		return nil, errors.New("--no-healthcheck conflicts with --health-* options")
	case o.noHealthcheck:
		return &api.Healthcheck{Test: []string{"NONE"}}, nil
	case !any:
		return nil, nil
	}
	for _, v := range []struct {
		flag  string
		value int64
	}{
		{"interval", int64(o.healthInterval)}, {"timeout", int64(o.healthTimeout)}, {"retries", int64(o.healthRetries)},
		{"start-period", int64(o.healthStartPeriod)}, {"start-interval", int64(o.healthStartInterval)},
	} {
		if v.value < 0 {
			return nil, fmt.Errorf("--health-%s cannot be negative", v.flag)
		}
	}
	h := &api.Healthcheck{
		Interval: o.healthInterval, Timeout: o.healthTimeout, StartPeriod: o.healthStartPeriod,
		StartInterval: o.healthStartInterval, Retries: o.healthRetries,
	}
	if o.healthCmd != "" {
		h.Test = []string{"CMD-SHELL", o.healthCmd}
	}
	return h, nil
}

// addVolumes sorts --volume into binds, which have a source, and anonymous volumes.
func (o *containerFlags) addVolumes(c *api.ContainerConfig, h *api.HostConfig) error {
	c.Volumes = map[string]struct{}{}
	seen := map[string]bool{}
	for _, spec := range o.volumes {
		if seen[spec] {
			continue
		}
		seen[spec] = true
		source, err := volumeSource(spec)
		switch {
		case err != nil:
			return err
		case source == "":
			c.Volumes[spec] = struct{}{}
			continue
		case strings.HasPrefix(source, "."):
			if host, rest, ok := strings.Cut(spec, ":"); ok {
				if abs, err := filepath.Abs(host); err == nil {
					spec = abs + ":" + rest
				}
			}
		}
		h.Binds = append(h.Binds, spec)
	}
	return nil
}

// volumeSource gives what stands before the first colon of a volume, empty when there
// is none. A letter and a colon at a part's beginning are a Windows drive.
func volumeSource(spec string) (string, error) {
	if spec == "" {
		return "", errors.New("invalid empty volume spec")
	}
	if len(spec) <= 2 {
		return "", nil
	}
	var parts []string
	start := 0
	for i, c := range spec {
		if c != ':' {
			continue
		}
		part := spec[start:i]
		if r, n := utf8.DecodeRuneInString(part); n == len(part) && unicode.IsLetter(r) {
			continue
		}
		parts, start = append(parts, part), i+1
	}
	parts = append(parts, spec[start:])
	for i, part := range parts {
		if part == "" {
			return "", fmt.Errorf("invalid spec: %s: empty section between colons", spec)
		}
		if i == 2 && len(parts) > 3 {
			return "", fmt.Errorf("invalid spec: %s: too many colons", spec)
		}
	}
	if len(parts) == 1 {
		return "", nil
	}
	return parts[0], nil
}

func (o *containerFlags) addPorts(c *api.ContainerConfig, h *api.HostConfig) error {
	specs, err := publishList(o.publish)
	if err != nil {
		return err
	}
	if c.ExposedPorts, h.PortBindings, err = publishedPorts(specs); err != nil {
		return err
	}
	return exposedPorts(o.expose, c.ExposedPorts)
}

// addDevices sorts --device into paths and names of CDI devices.
func (o *containerFlags) addDevices(h *api.HostConfig) error {
	h.Devices, h.DeviceRequests = []api.DeviceMapping{}, o.gpus.values
	var cdi []string
	for _, device := range o.devices {
		if cdiName(device) {
			cdi = append(cdi, device)
			continue
		}
		device, err := checkDevice(device)
		if err != nil {
			return err
		}
		d := api.DeviceMapping{CgroupPermissions: "rwm"}
		parts := strings.Split(device, ":")
		d.PathOnHost, d.PathInContainer = parts[0], parts[0]
		if len(parts) == 3 {
			d.CgroupPermissions = parts[2]
		}
		if len(parts) > 1 {
			if deviceMode(parts[1]) {
				d.CgroupPermissions = parts[1]
			} else if parts[1] != "" {
				d.PathInContainer = parts[1]
			}
		}
		h.Devices = append(h.Devices, d)
	}
	if len(cdi) > 0 {
		h.DeviceRequests = append(h.DeviceRequests, api.DeviceRequest{Driver: "cdi", DeviceIDs: cdi})
	}
	return nil
}

// cdiName tells a device of the Container Device Interface: vendor/class=name.
func cdiName(s string) bool {
	kind, name, ok := strings.Cut(s, "=")
	vendor, class, ok2 := strings.Cut(kind, "/")
	part := func(s, marks string) bool {
		alnum := func(c rune) bool { return letter(c) || c >= '0' && c <= '9' }
		last, _ := utf8.DecodeLastRuneInString(s)
		return s != "" && alnum(last) && !strings.ContainsFunc(s, func(c rune) bool { return !alnum(c) && !strings.ContainsRune(marks, c) })
	}
	return ok && ok2 && part(vendor, "_-.") && letter(rune(vendor[0])) && part(class, "_-") && letter(rune(class[0])) &&
		part(name, "_-.:") && (letter(rune(name[0])) || name[0] >= '0' && name[0] <= '9')
}

// userNetwork tells a network that somebody made from those every engine has.
func userNetwork(name string) bool {
	switch name {
	case "default", "bridge", "host", "none":
		return false
	}
	return !strings.HasPrefix(name, "container:")
}

// endpoints gives the container's place on each network. A single network that nothing
// is asked of goes by the network mode alone.
func (o *containerFlags) endpoints() (map[string]*api.EndpointSettings, error) {
	networks := o.networks.values
	if len(networks) == 0 {
		networks = []attachment{{target: "default"}}
	}
	all := map[string]*api.EndpointSettings{}
	user, system := false, false
	for i, at := range networks {
		if len(o.networks.values) > 0 {
			user, system = user || userNetwork(at.target), system || !userNetwork(at.target)
		}
		if i == 0 {
			if err := o.merge(&at); err != nil {
				return nil, err
			}
		}
		ep, err := at.endpoint()
		if err != nil {
			return nil, err
		}
		if _, ok := all[at.target]; ok {
			return nil, fmt.Errorf("network %q is specified multiple times", at.target)
		}
		if len(o.networks.values) == 1 && reflect.DeepEqual(*ep, api.EndpointSettings{}) {
			continue
		}
		all[at.target] = ep
	}
	if user && system {
		return nil, errors.New("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
	}
	return all, nil
}

// merge puts --ip, --link and the like into the first network.
func (o *containerFlags) merge(at *attachment) error {
	switch {
	case len(at.aliases) > 0 && len(o.aliases) > 0:
		return errors.New("conflicting options: cannot specify both --network-alias and per-network alias")
	case at.ip != "" && o.ip != "":
		return errors.New("conflicting options: cannot specify both --ip and per-network IPv4 address")
	case at.ip6 != "" && o.ip6 != "":
		return errors.New("conflicting options: cannot specify both --ip6 and per-network IPv6 address")
	case at.mac != "" && o.mac != "":
		return errors.New("conflicting options: cannot specify both --mac-address and per-network MAC address")
	case len(at.linkLocal) > 0 && len(o.linkLocal) > 0:
		return errors.New("conflicting options: cannot specify both --link-local-ip and per-network link-local IP addresses")
	}
	if len(o.aliases) > 0 {
		at.aliases = o.aliases
	}
	if userNetwork(at.target) && len(o.links) > 0 {
		at.links = o.links
	}
	if o.ip != "" {
		at.ip = o.ip
	}
	if o.ip6 != "" {
		at.ip6 = o.ip6
	}
	if o.mac != "" {
		at.mac = o.mac
	}
	if len(o.linkLocal) > 0 {
		at.linkLocal = o.linkLocal
	}
	return nil
}

func (at *attachment) endpoint() (*api.EndpointSettings, error) {
	switch user := userNetwork(at.target); {
	case strings.TrimSpace(at.target) == "":
		return nil, errors.New("no name set for network")
	case !user && len(at.aliases) > 0:
		return nil, errors.New("network-scoped aliases are only supported for user-defined networks")
	case !user && len(at.links) > 0:
		return nil, errors.New("links are only supported for user-defined networks")
	case at.mac != "" && !validMAC(at.mac):
		return nil, fmt.Errorf("%s is not a valid mac address", at.mac)
	}
	ep := &api.EndpointSettings{GwPriority: at.priority, DriverOpts: at.options, Links: at.links, MacAddress: at.mac}
	ep.Aliases = append(ep.Aliases, at.aliases...)
	if at.ip != "" || at.ip6 != "" || len(at.linkLocal) > 0 {
		ep.IPAMConfig = &api.EndpointIPAM{IPv4Address: at.ip, IPv6Address: at.ip6, LinkLocalIPs: at.linkLocal}
	}
	return ep, nil
}
