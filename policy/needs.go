package policy

import (
	"path"
	"slices"
	"strings"

	"lighter/api"
)

// Need is something that reaches beyond a container, or out of what holds it: a word of the
// policy's `with`, and for some which one.
type Need struct {
	Word, Value string
	ReadOnly    bool // of bind
}

func (n Need) String() string {
	s := n.Word
	if n.Value != "" {
		s += "=" + n.Value
	}
	if n.ReadOnly {
		s += readOnly
	}
	return s
}

const readOnly = ":ro" // behind a path in the file

// The words of `with`, and whether each has a value. A value of * is any.
var words = map[string]bool{
	"bind":          true,  // a folder or file of the host, this very path: what lies below may be a link to elsewhere; ":ro" to read it
	"cap":           true,  // a capability beyond the usual ones
	"device":        true,  // a device of the host; * for rules and requests as well
	"cgroup-parent": true,  // another parent in the tree of control groups
	"runtime":       true,  // another runtime than the engine's default
	"log-driver":    true,  // a driver that sends output somewhere
	"privileged":    false, // --privileged, of a container, an exec, or a build's step (security.insecure)
	"host-network":  false, // the host's namespaces
	"host-pid":      false, //
	"host-ipc":      false, //
	"host-uts":      false, //
	"host-cgroup":   false, //
	"host-user":     false, //
	"unconfined":    false, // other seccomp, AppArmor or SELinux confinement than the default; /proc unmasked
	"mount":         false, // volumes that are file systems of their own: local driver's type, device, o
	"link":          false, // networks that are tied to the host's links: macvlan, ipvlan, options of bridges
}

// any, as the value of a right, is for all values.
const any = "*"

// harmless are the log drivers that send nothing anywhere.
var harmless = []string{"", "json-file", "local", "none"}

// OfContainer gives what who is in a container has, by its host config and its mounts.
func OfContainer(h *api.HostConfig, mounts []api.MountPoint) (list []Need) {
	for _, row := range []struct {
		asks bool
		word string
	}{
		{h.Privileged, "privileged"}, {h.NetworkMode == "host", "host-network"}, {h.PidMode == "host", "host-pid"},
		{h.IpcMode == "host", "host-ipc"}, {h.UTSMode == "host", "host-uts"}, {h.UsernsMode == "host", "host-user"},
		{h.MaskedPaths != nil || h.ReadonlyPaths != nil, "unconfined"},
		{slices.ContainsFunc(h.SecurityOpt, func(o string) bool { return !tightens(o) }), "unconfined"},
	} {
		if row.asks {
			list = append(list, Need{Word: row.word})
		}
	}
	for _, c := range h.CapAdd {
		list = append(list, Need{Word: "cap", Value: strings.TrimPrefix(strings.ToUpper(c), "CAP_")})
	}
	for _, m := range mounts {
		if m.Type != "volume" && m.Type != "tmpfs" && m.Type != "image" {
			list = append(list, Need{"bind", path.Clean(m.Source), !m.RW})
		}
	}
	return append(list, devices(&h.Resources)...)
}

// OfCreate gives what else is asked for a container that is made.
func OfCreate(h *api.HostConfig) (list []Need) {
	for _, row := range []struct {
		asks        bool
		word, value string
	}{
		{h.Runtime != "", "runtime", h.Runtime}, {h.CgroupnsMode == "host", "host-cgroup", ""}, {h.CgroupParent != "", "cgroup-parent", h.CgroupParent},
		{!slices.Contains(harmless, h.LogConfig.Type), "log-driver", h.LogConfig.Type},
	} {
		if row.asks {
			list = append(list, Need{Word: row.word, Value: row.value})
		}
	}
	return list
}

// OfUpdate gives what a change of a container needs.
func OfUpdate(u *api.UpdateContainer, mounts []api.MountPoint) []Need {
	return OfContainer(&api.HostConfig{Resources: u.Resources}, mounts)
}

// devices are those of limits, which an update may bring, too.
func devices(r *api.Resources) (list []Need) {
	for _, d := range r.Devices {
		list = append(list, Need{Word: "device", Value: path.Clean(d.PathOnHost)})
	}
	if len(r.DeviceCgroupRules)+len(r.DeviceRequests) > 0 {
		list = append(list, Need{Word: "device", Value: any})
	}
	return list
}

// tightens tells that a security option takes something away only.
func tightens(o string) bool {
	return o == "no-new-privileges" || o == "no-new-privileges=true" || o == "no-new-privileges:true"
}

// OfExec gives what an exec needs beyond its container.
func OfExec(e *api.CreateExec) []Need {
	if e.Privileged {
		return []Need{{Word: "privileged"}}
	}
	return nil
}

// OfVolume gives what a volume's options need: size alone is a limit.
func OfVolume(options map[string]string) []Need {
	for key := range options {
		if key != "size" {
			return []Need{{Word: "mount"}}
		}
	}
	return nil
}

// bridgeOptions are those of a bridge that reach nothing of the host's.
var bridgeOptions = []string{
	"com.docker.network.bridge.enable_icc", "com.docker.network.bridge.enable_ip_masquerade",
	"com.docker.network.driver.mtu", "com.docker.network.container_iface_prefix", "com.docker.network.enable_ipv4", "com.docker.network.enable_ipv6",
}

// OfNetwork gives what a network needs.
func OfNetwork(n *api.CreateNetwork) []Need {
	link := n.Driver != "" && n.Driver != "bridge"
	for key := range n.Options {
		link = link || !slices.Contains(bridgeOptions, key)
	}
	if link || n.ConfigFrom != nil {
		return []Need{{Word: "link"}}
	}
	return nil
}

// OfBuild gives what a build needs, by whatever way it was asked for.
func OfBuild(r *api.BuildRequest) (list []Need) {
	add := func(word, value string) { list = append(list, Need{Word: word, Value: value}) }
	for _, a := range r.Allow {
		switch name, _, _ := strings.Cut(a, "="); name {
		case "network.host":
			add("host-network", "")
		case "security.insecure":
			add("privileged", "")
		default:
			add("device", any)
		}
	}
	if parent := r.Options["cgroup-parent"]; parent != "" {
		add("cgroup-parent", parent)
	}
	for _, raw := range r.Binds {
		source, rest, _ := strings.Cut(raw, ":")
		_, mode, _ := strings.Cut(rest, ":")
		list = append(list, Need{"bind", path.Clean(source), mode == "ro"})
	}
	for _, c := range r.Contexts {
		if c.Upload == "" { // a folder of the engine's machine
			list = append(list, Need{"bind", path.Clean(c.Path), true})
		}
	}
	for _, agent := range r.Agents {
		add("bind", path.Clean(agent))
	}
	for _, o := range slices.Concat(r.From, r.To) {
		for _, key := range []string{"src", "dest"} {
			if dir := o.Attrs[key]; dir != "" && o.Type != "registry" { // folders of the engine's machine
				add("bind", path.Clean(dir))
			}
		}
	}
	return list
}
