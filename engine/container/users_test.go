package container

import (
	"testing"

	"lighter/api"
	"lighter/task"
)

func TestCheckRemapped(t *testing.T) {
	host := &Host{Runtime: "runc", Runtimes: map[string]*task.Runtime{"other": {}}}
	for _, row := range []struct {
		h    api.HostConfig
		want string
	}{
		{api.HostConfig{}, ""},
		{api.HostConfig{Privileged: true}, "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode"},
		{api.HostConfig{Privileged: true, UsernsMode: "host", NetworkMode: "host", PidMode: "host", Runtime: "other"}, ""},
		{api.HostConfig{NetworkMode: "host"}, "cannot share the host's network namespace when user namespaces are enabled"},
		{api.HostConfig{PidMode: "host"}, "cannot share the host PID namespace when user namespaces are enabled"},
		{api.HostConfig{Runtime: "other"}, "the runtime other gets no containers with user ids of their own: give this one --userns=host, or leave it to lighter's runtime"},
	} {
		got := ""
		if err := host.checkRemapped(&row.h); err != nil {
			got = err.Error()
		}
		if got != row.want {
			t.Errorf("%+v: %q, want %q", row.h, got, row.want)
		}
	}
}
