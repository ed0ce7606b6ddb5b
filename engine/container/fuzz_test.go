package container

import (
	"bytes"
	"encoding/json"
	"testing"

	"lighter/api"
)

// FuzzCreate makes a container of what a client sends, starts, updates and removes it.
func FuzzCreate(f *testing.F) {
	for _, s := range []string{
		`{"Image":"busybox","Cmd":"sh","Entrypoint":["a"],"HostConfig":{"NanoCpus":1000000000,"PortBindings":{"80/tcp":[{"HostPort":"1"}]},"NetworkMode":"none"}}`,
		`{"Image":"busybox","HostConfig":null,"NetworkingConfig":{"EndpointsConfig":{"a":null}}}`,
		`{"Image":"busybox","User":"1:2","WorkingDir":"../x","Volumes":{"/v":{}},"HostConfig":{"NetworkMode":"container:x","Binds":["a:/b:ro,z","/:/h"],"Mounts":[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":-1}}]}}`,
		`{"Image":"busybox","HostConfig":{"NetworkMode":"none","CpusetCpus":"0-1,7","Devices":[{"PathOnHost":"/dev/null","PathInContainer":"/x","CgroupPermissions":"rwm"}],"DeviceCgroupRules":["c 1:3 r"],"BlkioDeviceReadBps":[{"Path":"/dev/x","Rate":1}],"Ulimits":[{"Name":"x","Soft":3,"Hard":1},null]}}`,
		`{"Image":"busybox","HostConfig":{"NetworkMode":"none","SecurityOpt":["seccomp={}","label=disable","apparmor=x","no-new-privileges"],"Sysctls":{"net.a":"b"},"Tmpfs":{"/a":"size=1"},"CapAdd":["all","x"],"LogConfig":{"Type":"local","Config":{"max-size":"x"}}}}`,
		`{"Image":"busybox","Healthcheck":{"Test":["CMD"],"Interval":1},"StopSignal":"99","HostConfig":{"NetworkMode":"none","RestartPolicy":{"Name":"on-failure","MaximumRetryCount":-1},"PidMode":"container:","IpcMode":"shareable","UTSMode":"host","Runtime":"x"}}`,
	} {
		f.Add([]byte(s), []byte(`{"Memory":1,"PidsLimit":-1,"RestartPolicy":{"Name":"always"}}`))
	}
	f.Fuzz(func(t *testing.T, create, change []byte) {
		if bytes.Contains(create, []byte("PathOnHost")) && !bytes.Contains(create, []byte("/dev/null")) {
			return // it would look through a folder of the host's
		}
		var req api.CreateContainer
		var u api.UpdateContainer
		if json.Unmarshal(create, &req) != nil || json.Unmarshal(change, &u) != nil || req.ContainerConfig == nil {
			return
		}
		if req.HostConfig != nil {
			req.HostConfig.Binds, req.HostConfig.Mounts = nil, nil // sources are looked for, and made, on the host
		}
		w := newWorld(t)
		defer w.Close()
		made, err := w.Create(t.Context(), "", req, nil)
		if err != nil {
			return
		}
		w.Start(t.Context(), made.ID)
		w.Control().Update(t.Context(), made.ID, u)
		if v, err := w.Inspect(t.Context(), made.ID, false); err == nil {
			if _, err := json.Marshal(v); err != nil {
				t.Error(err)
			}
		}
		w.Remove(t.Context(), made.ID, RemoveOptions{Force: true})
	})
}
