package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"lighter/api"
	"lighter/oci"
)

// buildFlags are the flags of build.
type buildFlags struct {
	source string // PATH, URL or -

	hosts, allow, annotations, attest, args, contexts, cacheFrom, cacheTo, labels, noCacheFilter []string
	outputs, platforms, secrets, ssh, tags, securityOpts, volumes                                []string
	builder, call, cgroupParent, file, iidfile, metadata, network, progress, provenance, sbom    string
	target, isolation, cpusetCpus, cpusetMems, onFail                                            string
	check, debug, load, noCache, pull, push, quiet, compress, rm, forceRm, squash, distrust      bool
	verify, explain                                                                              bool
	cpuShares, cpuPeriod, cpuQuota                                                               int64
	shmSize, memory                                                                              bytesFlag
	memorySwap                                                                                   swapFlag
	ulimits                                                                                      ulimitFlag
}

func (o *buildFlags) add(f *pflag.FlagSet) {
	o.ulimits = ulimitFlag{}
	f.VarP(list(&o.tags, checkTag), "tag", "t", "Name of the image (name[:tag]); several may be given")
	f.StringVarP(&o.file, "file", "f", "", `Dockerfile to build ("-" for stdin) (default PATH/Dockerfile)`)
	f.StringVar(&o.target, "target", "", "Stage to build")
	f.Var(list(&o.args, nil), "build-arg", "Set an ARG of the Dockerfile (name[=value])")
	f.Var(list(&o.contexts, nil), "build-context", "Further context (name=path, name=docker-image://…, name=https://…)")
	f.Var(list(&o.labels, checkLabel), "label", "Put a label on the image (name[=value])")
	f.Var(list(&o.annotations, nil), "annotation", "Put an annotation on the image's manifest")
	f.Var(list(&o.platforms, nil), "platform", "Platform to build for: os[/arch[/variant]]")
	f.VarP(list(&o.outputs, nil), "output", "o", "What becomes of the result (type=local|tar|oci|docker|image|registry,dest=path)")
	f.BoolVar(&o.load, "load", false, "Put the image among the engine's (this is so unless --output says otherwise)")
	f.BoolVar(&o.push, "push", false, "Push the image to its registry")
	f.StringVar(&o.progress, "progress", os.Getenv("BUILDKIT_PROGRESS"), `How to show what happens ("auto", "plain", "tty", "quiet", "rawjson", "none")`)
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Print the image's id alone")
	f.StringVar(&o.iidfile, "iidfile", "", "Write the image's id to this file")
	f.StringVar(&o.metadata, "metadata-file", "", "Write what is known of the result to this file, as JSON")
	f.StringVar(&o.call, "call", "build", `What to do with the Dockerfile ("build", "check", "outline", "targets")`)
	f.BoolVar(&o.check, "check", false, "Check the Dockerfile, build nothing (--call=check)")
	f.BoolVarP(&o.debug, "debug", "D", false, "Tell more about warnings and errors")
	o.addCache(f)
	o.addSteps(f)
	o.addOld(f)
	f.Bool("help", false, "Print this help")
}

func (o *buildFlags) addCache(f *pflag.FlagSet) {
	f.BoolVar(&o.noCache, "no-cache", false, "Do every step again")
	f.Var(list(&o.noCacheFilter, nil), "no-cache-filter", "Do the steps of this stage again")
	f.BoolVar(&o.pull, "pull", false, "Ask the registry for newer base images")
	f.Var(list(&o.cacheFrom, nil), "cache-from", "Cache to read as well (an image, or type=registry|local,…)")
	f.Var(list(&o.cacheTo, nil), "cache-to", "Cache to write (an image, or type=inline|registry|local,…)")
	f.BoolVar(&o.explain, "explain-cache", false, "Tell which input changed where a step is not cached")
	f.BoolVar(&o.verify, "verify", false, "Build twice without cache, and name the first file that differs")
	f.StringVar(&o.builder, "builder", os.Getenv("BUILDX_BUILDER"), "Builder to use (there is one: default)")
	f.Var(list(&o.attest, nil), "attest", "Attestation to make (none can be made yet)")
	f.StringVar(&o.provenance, "provenance", "", "Attest where the image comes from (false alone)")
	f.StringVar(&o.sbom, "sbom", "", "Attest what is in the image (false alone)")
}

// addSteps adds what RUN steps see.
func (o *buildFlags) addSteps(f *pflag.FlagSet) {
	f.Var(list(&o.secrets, nil), "secret", "Secret for RUN --mount=type=secret (id=name[,src=file][,env=variable])")
	f.Var(list(&o.ssh, nil), "ssh", "Agent for RUN --mount=type=ssh (default|id[=socket|key[,key]])")
	f.Var(list(&o.allow, nil), "allow", `Right that steps may ask for ("network.host", "security.insecure", "device")`)
	f.VarP(list(&o.volumes, nil), "volume", "v", "Bind a folder of the host into each step (/host:/path[:ro]); the image is then not reproducible")
	f.StringVar(&o.onFail, "on-fail", "", `What to do when a step fails ("shell": open one in its state)`)
	f.Var(list(&o.hosts, checkExtraHost), "add-host", "Add a name to /etc/hosts (host:ip)")
	f.StringVar(&o.network, "network", "default", `Network of steps ("default", "none", "host", or one by its name)`)
	f.StringVar(&o.cgroupParent, "cgroup-parent", "", "Cgroup that those of steps are in")
	f.Var(&o.shmSize, "shm-size", "Size of /dev/shm")
	f.Var(o.ulimits, "ulimit", "Set a limit of setrlimit(2) (name=soft[:hard])")
	f.VarP(&o.memory, "memory", "m", "Memory that a step may use")
	f.Var(&o.memorySwap, "memory-swap", "Memory and swap that a step may use together: '-1' for any")
	f.Int64VarP(&o.cpuShares, "cpu-shares", "c", 0, "Share of the CPUs beside others")
	f.Int64Var(&o.cpuPeriod, "cpu-period", 0, "Period of the CFS scheduler, in microseconds")
	f.Int64Var(&o.cpuQuota, "cpu-quota", 0, "CPU time in a period, in microseconds")
	f.StringVar(&o.cpusetCpus, "cpuset-cpus", "", "CPUs to run on (0-3, 0,1)")
	f.StringVar(&o.cpusetMems, "cpuset-mems", "", "Memory nodes to use (0-3, 0,1)")
}

// addOld adds flags of Docker's classic builder.
func (o *buildFlags) addOld(f *pflag.FlagSet) {
	f.BoolVar(&o.squash, "squash", false, "Make one layer of those that the build adds")
	f.BoolVar(&o.compress, "compress", false, "Compress a context that has to be sent")
	f.BoolVar(&o.rm, "rm", true, "Remove intermediate containers (there are none)")
	f.BoolVar(&o.forceRm, "force-rm", false, "Remove intermediate containers (there are none)")
	f.StringVar(&o.isolation, "isolation", "", "Way of isolation")
	f.Var(list(&o.securityOpts, nil), "security-opt", "Security options")
	f.BoolVar(&o.distrust, "disable-content-trust", true, "Signatures are not looked at")
	for _, name := range []string{"rm", "force-rm", "isolation", "security-opt", "disable-content-trust"} {
		f.Lookup(name).Hidden = true
	}
}

// checkTag refuses what is no name of an image.
func checkTag(s string) (string, error) {
	if ref, err := oci.ParseReference(s); err != nil {
		return "", fmt.Errorf("invalid tag %q: %w", s, err)
	} else if ref.Digest != "" {
		return "", fmt.Errorf("invalid tag %q: a digest is not chosen but comes out", s)
	}
	return s, nil
}

// calls are what --call can ask for, by the front end's names.
var calls = map[string]string{"build": "", "check": "frontend.lint", "lint": "frontend.lint", "outline": "frontend.outline", "targets": "frontend.targets"}

// progressModes are how a build can be shown.
var progressModes = []string{"", "auto", "plain", "tty", "quiet", "none", "rawjson"}

// validate refuses flags that cannot be met.
func (o *buildFlags) validate() error {
	call, _, _ := strings.Cut(o.call, ",")
	_, known := calls[call]
	for _, wrong := range []struct {
		is   bool
		text string
	}{
		{o.builder != "" && o.builder != "default", fmt.Sprintf("no builder %q found: there is one, the engine's own", o.builder)},
		{!slices.Contains(progressModes, o.progress), "invalid progress mode " + o.progress},
		{!known, fmt.Sprintf("invalid call %q: must be one of build, check, outline, targets", o.call)},
		{len(o.attest) > 0, "attestations are not made yet: leave --attest away"},
		{isOn(o.provenance), "provenance is not attested yet: say --provenance=false, or leave it away"},
		{isOn(o.sbom), "no list of contents (SBOM) is made yet: say --sbom=false, or leave it away"},
		{o.isolation != "" && o.isolation != "default", fmt.Sprintf("unsupported isolation: %q", o.isolation)},
		{len(o.securityOpts) > 0, "security options are asked for where they are needed: RUN --security=insecure, with --allow security.insecure"},
		{!o.distrust, "content trust is not known here: run without --disable-content-trust=false"},
		{o.onFail != "" && o.onFail != "shell", fmt.Sprintf("invalid --on-fail %q: must be shell", o.onFail)},
		{o.onFail != "" && (o.source == "-" || o.file == "-"), "--on-fail=shell needs stdin for the shell, not for the build"},
		{o.source == "-" && o.file == "-", "invalid argument: can't use stdin for both build context and dockerfile"},
		{o.quiet && o.progress != "" && o.progress != "auto" && o.progress != "quiet", "progress=" + o.progress + " and quiet cannot be used together"},
		{o.verify && (o.push || len(o.outputs) > 0), "--verify makes no output: leave --output and --push away"},
	} {
		if wrong.is {
			return errors.New(wrong.text)
		}
	}
	return nil
}

// isOn reads the value of --provenance and --sbom: anything but no is yes.
func isOn(s string) bool {
	if s == "" || s == "disabled" {
		return false
	}
	on, err := strconv.ParseBool(s)
	return err != nil || on
}

// options gives the front end's options that the flags ask for.
func (o *buildFlags) options(a *App) (map[string]string, error) {
	m := map[string]string{}
	set := func(key, value string) {
		if value != "" && value != "0" {
			m[key] = value
		}
	}
	for _, kv := range o.args {
		k, v, ok := strings.Cut(kv, "=")
		if env, has := os.LookupEnv(k); !ok && has {
			v, ok = env, true
		}
		if ok {
			m["build-arg:"+k] = v
		}
	}
	host, err := a.host()
	if err != nil {
		return nil, err
	}
	for _, kv := range a.proxyEnv(host, nil) {
		k, v, _ := strings.Cut(kv, "=")
		if _, given := m["build-arg:"+k]; !given {
			m["build-arg:"+k] = v
		}
	}
	for _, kv := range o.labels {
		k, v, _ := strings.Cut(kv, "=")
		m["label:"+k] = v
	}
	set("target", o.target)
	set("cgroup-parent", o.cgroupParent)
	set("cpusetcpus", o.cpusetCpus)
	set("cpusetmems", o.cpusetMems)
	for key, n := range map[string]int64{
		"shm-size": int64(o.shmSize), "memory": int64(o.memory), "memswap": int64(o.memorySwap.bytesFlag),
		"cpushares": o.cpuShares, "cpuperiod": o.cpuPeriod, "cpuquota": o.cpuQuota,
	} {
		set(key, strconv.FormatInt(n, 10))
	}
	if o.noCache {
		m["no-cache"] = ""
	} else if len(o.noCacheFilter) > 0 {
		m["no-cache"] = strings.Join(o.noCacheFilter, ",")
	}
	if o.pull {
		m["image-resolve-mode"] = "pull"
	}
	call, _, _ := strings.Cut(o.call, ",")
	set("requestid", calls[call])
	return m, o.listOptions(m)
}

// listOptions adds the options that are lists.
func (o *buildFlags) listOptions(m map[string]string) error {
	var platforms, hosts, ulimits []string
	for _, s := range o.platforms {
		for p := range strings.SplitSeq(s, ",") {
			if p == "local" {
				continue // the engine's own
			}
			if _, err := oci.ParsePlatform(p); err != nil {
				return err
			}
			platforms = append(platforms, p)
		}
	}
	for _, h := range o.hosts {
		host, addr, _ := strings.Cut(h, ":")
		hosts = append(hosts, host+"="+addr)
	}
	for _, u := range o.ulimits.list() {
		ulimits = append(ulimits, fmt.Sprintf("%s=%d:%d", u.Name, u.Soft, u.Hard))
	}
	for key, values := range map[string][]string{"platform": platforms, "add-hosts": hosts, "ulimit": ulimits} {
		if len(values) > 0 {
			m[key] = strings.Join(values, ",")
		}
	}
	switch o.network {
	case "", "default":
	case "none", "host":
		m["force-network-mode"] = o.network
	default:
		if strings.HasPrefix(o.network, "container:") {
			return fmt.Errorf("network mode %q not supported: steps of a build run on a network, on none or on host", o.network)
		}
	}
	return nil
}

// request makes the flags into a request, but for contexts and the exports that --output asks for.
func (o *buildFlags) request(a *App) (*api.BuildRequest, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	options, err := o.options(a)
	if err != nil {
		return nil, err
	}
	r := &api.BuildRequest{Options: options, Allow: o.allow, Verify: o.verify, Explain: o.explain, Keep: o.onFail != "", Squash: o.squash}
	switch o.network {
	case "", "default", "bridge", "none":
	case "host":
		r.Allow = append(r.Allow, "network.host")
	default:
		r.Network = o.network
	}
	for _, t := range o.tags {
		ref, err := oci.ParseReference(t)
		if err != nil {
			return nil, err
		}
		r.Names = append(r.Names, ref.OrLatest().String())
	}
	for _, v := range o.volumes {
		host, rest, ok := strings.Cut(v, ":")
		if !ok || !strings.HasPrefix(rest, "/") {
			return nil, fmt.Errorf("invalid volume %q: must be /host:/path[:ro]", v)
		}
		if host, err = filepath.Abs(host); err != nil {
			return nil, err
		}
		r.Binds = append(r.Binds, host+":"+rest)
	}
	if text := os.Getenv("SOURCE_DATE_EPOCH"); text != "" && options["build-arg:SOURCE_DATE_EPOCH"] == "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("invalid SOURCE_DATE_EPOCH %q: must be seconds since 1970", text)
		}
		r.Epoch = &n
	}
	if r.Secrets, err = readSecrets(o.secrets); err != nil {
		return nil, err
	}
	if r.From, err = cacheOptions(o.cacheFrom, "src"); err != nil {
		return nil, err
	}
	if r.To, err = cacheOptions(o.cacheTo, "dest"); err != nil {
		return nil, err
	}
	r.Auth = logins{a}.all()
	return r, nil
}
