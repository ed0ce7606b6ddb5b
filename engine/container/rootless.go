package container

import "lighter/api"

// noGroups refuses what needs control groups, on a host that lets this engine's user write to none.
func noGroups(what string) error {
	return api.Errorf(api.NotImplemented, "%s: it needs a control group, and none is delegated to the user whose engine this is", what)
}

// checkRootless refuses what containers of an ordinary user's engine cannot have.
func (host *Host) checkRootless(h *api.HostConfig) error {
	_, joinsPid := shared(h.PidMode)
	not := func(what string) error {
		return api.Errorf(api.NotImplemented, "%s: the engine is an ordinary user's, and that is root's to give", what)
	}
	switch {
	case h.PidMode == "host":
		return not("--pid=host")
	case h.IpcMode == "host":
		return not("--ipc=host")
	case len(h.DeviceCgroupRules) > 0:
		return not("--device-cgroup-rule")
	case h.Runtime != "" && host.Runtimes[h.Runtime] != nil:
		return api.Errorf(api.NotImplemented, "the runtime %s: an engine of an ordinary user leaves containers to lighter's own", h.Runtime)
	case host.Groupless && joinsPid:
		return noGroups("--pid=" + h.PidMode)
	case host.Groupless && h.CgroupParent != "":
		return noGroups("--cgroup-parent=" + h.CgroupParent)
	}
	return nil
}
