package cli

import (
	"os"
	"time"

	"github.com/spf13/pflag"

	"lighter/api"
)

// containerFlags are the flags that run and create share: what a container is to be.
type containerFlags struct {
	image string
	args  []string

	attach, volumes, tmpfs, links, aliases, linkLocal, env, labels, deviceRules, devices  []string
	publish, expose, dns, dnsSearch, dnsOptions, extraHosts, volumesFrom, envFiles        []string
	capAdd, capDrop, groupAdd, securityOpts, storageOpts, labelFiles, logOpts             []string
	hostname, domainname, entrypoint, user, workdir, cidfile, mac, ip, ip6                string
	pid, uts, userns, cgroupns, ipc, isolation, runtime, cgroupParent                     string
	cpusetCpus, cpusetMems, restart, logDriver, volumeDriver, stopSignal                  string
	privileged, publishAll, stdin, tty, oomKillDisable, readOnly, noHealthcheck, rm, init bool
	oomScoreAdj, stopTimeout                                                              int
	cpuCount, cpuShares, cpuPercent, cpuPeriod, cpuQuota, cpuRtPeriod, cpuRtRuntime, pids int64
	swappiness                                                                            int64
	blkioWeight                                                                           uint16
	ioMaxIOps                                                                             uint64
	memory, memoryReservation, kernelMemory, ioMaxBandwidth, shmSize                      bytesFlag
	memorySwap                                                                            swapFlag
	cpus                                                                                  cpusFlag
	mounts                                                                                mountFlag
	networks                                                                              networkFlag
	gpus                                                                                  gpuFlag
	ulimits                                                                               ulimitFlag
	weightDevices                                                                         weightFlag
	readBps, writeBps, readIOps, writeIOps                                                throttleFlag
	sysctls, annotations                                                                  mapFlag
	healthCmd                                                                             string
	healthInterval, healthTimeout, healthStartPeriod, healthStartInterval                 time.Duration
	healthRetries                                                                         int
}

// createFlags are those of run and create that are not about the container.
type createFlags struct {
	name, platform, pull string
	fromStep             string // of the image's build
	distrust             bool   // of signatures: nobody checks them
	quiet, apiSocket     bool
}

func (o *createFlags) add(f *pflag.FlagSet) {
	f.StringVar(&o.name, "name", "", "Name of the container")
	f.StringVar(&o.pull, "pull", "missing", `When to pull the image ("always", "missing", "never")`)
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Do not tell how the pull goes")
	f.BoolVar(&o.apiSocket, "use-api-socket", false, "Let the container reach the engine: bind its socket, with our logins")
	f.StringVar(&o.platform, "platform", os.Getenv("DOCKER_DEFAULT_PLATFORM"), "Platform of the image: os[/arch[/variant]]")
	f.BoolVar(&o.distrust, "disable-content-trust", os.Getenv("DOCKER_CONTENT_TRUST") == "", "Do not check the image's signature")
	f.StringVar(&o.fromStep, "from-step", "", "Begin with the files of a step of the image's build (STAGE:N) instead of the image's")
	f.Bool("help", false, "Print this help")
}

// add adds the flags to a set.
func (o *containerFlags) add(f *pflag.FlagSet) {
	o.sysctls = mapFlag{map[string]string{}, checkSysctl}
	o.annotations = mapFlag{map[string]string{}, nil}
	o.ulimits = ulimitFlag{}
	o.readBps.bytes, o.writeBps.bytes = true, true
	o.addGeneral(f)
	o.addSecurity(f)
	o.addNetwork(f)
	o.addStorage(f)
	o.addHealth(f)
	o.addResources(f)
}

func (o *containerFlags) addGeneral(f *pflag.FlagSet) {
	f.VarP(list(&o.attach, checkAttach), "attach", "a", "Attach to STDIN, STDOUT or STDERR")
	f.Var(list(&o.deviceRules, checkDeviceRule), "device-cgroup-rule", `Let the container use devices ("c 1:3 rwm")`)
	f.Var(list(&o.devices, nil), "device", "Put a device of the host into the container (path[:path][:rwm])")
	f.Var(&o.gpus, "gpus", "GPUs for the container ('all' for all of them)")
	f.VarP(list(&o.env, checkEnv), "env", "e", "Set a variable of the environment")
	f.Var(list(&o.envFiles, nil), "env-file", "Read variables from a file, one a line")
	f.StringVar(&o.entrypoint, "entrypoint", "", "Run this instead of the image's entrypoint")
	f.Var(list(&o.groupAdd, nil), "group-add", "Join a further group")
	f.StringVarP(&o.hostname, "hostname", "h", "", "Host name in the container")
	f.StringVar(&o.domainname, "domainname", "", "NIS domain name in the container")
	f.BoolVarP(&o.stdin, "interactive", "i", false, "Keep stdin open, also when nobody is attached")
	f.VarP(list(&o.labels, checkLabel), "label", "l", "Put a label on the container (name[=value])")
	f.Var(list(&o.labelFiles, nil), "label-file", "Read labels from a file, one a line")
	f.BoolVar(&o.readOnly, "read-only", false, "Mount the root file system read-only")
	f.StringVar(&o.restart, "restart", "no", "When to start again by itself (no, on-failure[:max], always, unless-stopped)")
	f.StringVar(&o.stopSignal, "stop-signal", "", "Signal that asks the container to stop")
	f.IntVar(&o.stopTimeout, "stop-timeout", 0, "Seconds between that signal and the kill")
	f.Var(&o.sysctls, "sysctl", "Set a kernel parameter of the container's own (name=value)")
	f.BoolVarP(&o.tty, "tty", "t", false, "Give the container a terminal")
	f.Var(o.ulimits, "ulimit", "Set a limit of setrlimit(2) (name=soft[:hard])")
	f.StringVarP(&o.user, "user", "u", "", "User, by name or number (format: <name|uid>[:<group|gid>])")
	f.StringVarP(&o.workdir, "workdir", "w", "", "Working folder in the container")
	f.BoolVar(&o.rm, "rm", false, "Remove the container and its anonymous volumes when it has ended")
	f.BoolVar(&o.init, "init", false, "Run an init in the container that passes signals on and reaps processes")
	f.Var(&o.annotations, "annotation", "Add an annotation for the OCI runtime (name=value)")
}

func (o *containerFlags) addSecurity(f *pflag.FlagSet) {
	f.Var(list(&o.capAdd, nil), "cap-add", "Add a Linux capability (ALL for all)")
	f.Var(list(&o.capDrop, nil), "cap-drop", "Take a Linux capability away (ALL for all)")
	f.BoolVar(&o.privileged, "privileged", false, "Let the container do what root on the host may")
	f.Var(list(&o.securityOpts, nil), "security-opt", "Security options (seccomp=FILE, no-new-privileges, systempaths=unconfined…)")
	f.StringVar(&o.userns, "userns", "", "User namespace (host)")
	f.StringVar(&o.cgroupns, "cgroupns", "", "Cgroup namespace: 'host' or 'private'; empty as the engine is set up")
	f.StringVar(&o.cgroupParent, "cgroup-parent", "", "Cgroup that the container's is in")
	f.StringVar(&o.ipc, "ipc", "", "IPC namespace (none, private, shareable, host, container:NAME)")
	f.StringVar(&o.isolation, "isolation", "", "Way of isolation")
	f.StringVar(&o.pid, "pid", "", "PID namespace (host, container:NAME)")
	f.StringVar(&o.uts, "uts", "", "UTS namespace (host)")
	f.StringVar(&o.runtime, "runtime", "", "OCI runtime that runs the container")
}

func (o *containerFlags) addNetwork(f *pflag.FlagSet) {
	f.Var(list(&o.extraHosts, checkExtraHost), "add-host", "Add a name to /etc/hosts (host:ip)")
	f.Var(list(&o.dns, checkIP), "dns", "Ask this DNS server")
	dnsOptions := list(&o.dnsOptions, nil)
	f.Var(dnsOptions, "dns-opt", "Set a DNS option")
	f.Var(dnsOptions, "dns-option", "Set a DNS option")
	f.MarkHidden("dns-opt")
	f.Var(list(&o.dnsSearch, checkSearch), "dns-search", "Search this domain for names")
	f.Var(list(&o.expose, nil), "expose", "Tell of a port or a range of ports that the container serves")
	f.StringVar(&o.ip, "ip", "", "IPv4 address (such as 172.30.100.104)")
	f.StringVar(&o.ip6, "ip6", "", "IPv6 address (such as 2001:db8::33)")
	f.Var(list(&o.links, checkLink), "link", "Link to another container (name[:alias])")
	f.Var(list(&o.linkLocal, nil), "link-local-ip", "Link-local address")
	f.StringVar(&o.mac, "mac-address", "", "MAC address (such as 92:d0:c6:0a:29:33)")
	f.VarP(list(&o.publish, nil), "publish", "p", "Let a port of the host lead to the container ([[ip:]host:]port[/proto])")
	f.BoolVarP(&o.publishAll, "publish-all", "P", false, "Let free ports of the host lead to all that it serves")
	f.Var(&o.networks, "net", "Network to join")
	f.Var(&o.networks, "network", "Network to join (a name, or name=…,alias=…,ip=…)")
	f.MarkHidden("net")
	aliases := list(&o.aliases, nil)
	f.Var(aliases, "net-alias", "Further name on the network")
	f.Var(aliases, "network-alias", "Further name on the network")
	f.MarkHidden("net-alias")
}

func (o *containerFlags) addStorage(f *pflag.FlagSet) {
	f.StringVar(&o.logDriver, "log-driver", "", "Where the container's output is kept")
	f.Var(list(&o.logOpts, nil), "log-opt", "Option of the log (name=value)")
	f.StringVar(&o.volumeDriver, "volume-driver", "", "Driver of the container's volumes")
	f.Var(list(&o.storageOpts, nil), "storage-opt", "Option of the container's storage (name=value)")
	f.Var(list(&o.tmpfs, nil), "tmpfs", "Mount a tmpfs (path[:options])")
	f.Var(list(&o.volumesFrom, nil), "volumes-from", "Mount the volumes of another container (name[:ro])")
	f.VarP(list(&o.volumes, nil), "volume", "v", "Mount a volume or a folder of the host ([source:]path[:options])")
	f.Var(&o.mounts, "mount", "Mount something (type=…,source=…,target=…)")
}

func (o *containerFlags) addHealth(f *pflag.FlagSet) {
	f.StringVar(&o.healthCmd, "health-cmd", "", "Command that tells whether the container is well")
	f.DurationVar(&o.healthInterval, "health-interval", 0, "Time between two probes (ms|s|m|h) (default 0s)")
	f.IntVar(&o.healthRetries, "health-retries", 0, "Failures in a row that make it unhealthy")
	f.DurationVar(&o.healthTimeout, "health-timeout", 0, "Time that a probe may take (ms|s|m|h) (default 0s)")
	f.DurationVar(&o.healthStartPeriod, "health-start-period", 0, "Time to start up in which failures do not count (ms|s|m|h) (default 0s)")
	f.DurationVar(&o.healthStartInterval, "health-start-interval", 0, "Time between two probes while it starts up (ms|s|m|h) (default 0s)")
	f.BoolVar(&o.noHealthcheck, "no-healthcheck", false, "Do not probe, whatever the image says")
}

func (o *containerFlags) addResources(f *pflag.FlagSet) {
	o.addLimits(f)
	f.Var(&o.weightDevices, "blkio-weight-device", "Share of one disk (path:weight)")
	f.StringVar(&o.cidfile, "cidfile", "", "Write the container's id to this file")
	f.Int64Var(&o.cpuCount, "cpu-count", 0, "Number of CPUs (Windows only)")
	f.Int64Var(&o.cpuPercent, "cpu-percent", 0, "Percent of the CPUs (Windows only)")
	f.Var(&o.readBps, "device-read-bps", "Bytes a second to read from a device (path:rate)")
	f.Var(&o.readIOps, "device-read-iops", "Reads a second from a device (path:rate)")
	f.Var(&o.writeBps, "device-write-bps", "Bytes a second to write to a device (path:rate)")
	f.Var(&o.writeIOps, "device-write-iops", "Writes a second to a device (path:rate)")
	f.Var(&o.ioMaxBandwidth, "io-maxbandwidth", "Bytes a second of the system drive (Windows only)")
	f.Uint64Var(&o.ioMaxIOps, "io-maxiops", 0, "Operations a second of the system drive (Windows only)")
	f.Int64Var(&o.swappiness, "memory-swappiness", -1, "How readily its memory is swapped (0 to 100)")
	f.BoolVar(&o.oomKillDisable, "oom-kill-disable", false, "Do not kill it when it uses too much memory")
	f.IntVar(&o.oomScoreAdj, "oom-score-adj", 0, "How readily it is killed when memory is short (-1000 to 1000)")
	f.Var(&o.shmSize, "shm-size", "Size of /dev/shm")
	for _, name := range []string{"cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops"} {
		f.Lookup(name).Hidden = true // they are there to be refused, as in Docker's help
	}
}

// addLimits adds the limits that a running container can be given, too.
func (o *containerFlags) addLimits(f *pflag.FlagSet) {
	f.Uint16Var(&o.blkioWeight, "blkio-weight", 0, "Share of the disks, 10 to 1000, or 0 for none of its own (default 0)")
	f.StringVar(&o.cpusetCpus, "cpuset-cpus", "", "CPUs to run on (0-3, 0,1)")
	f.StringVar(&o.cpusetMems, "cpuset-mems", "", "Memory nodes to use (0-3, 0,1)")
	f.Int64Var(&o.cpuPeriod, "cpu-period", 0, "Period of the CFS scheduler, in microseconds")
	f.Int64Var(&o.cpuQuota, "cpu-quota", 0, "CPU time in a period, in microseconds")
	f.Int64Var(&o.cpuRtPeriod, "cpu-rt-period", 0, "Period of the real-time scheduler, in microseconds")
	f.Int64Var(&o.cpuRtRuntime, "cpu-rt-runtime", 0, "Real-time CPU time in a period, in microseconds")
	f.Int64VarP(&o.cpuShares, "cpu-shares", "c", 0, "Share of the CPUs beside others")
	f.Var(&o.cpus, "cpus", "Number of CPUs, such as 1.5")
	f.Var(&o.kernelMemory, "kernel-memory", "Kernel memory it may use")
	f.VarP(&o.memory, "memory", "m", "Memory it may use")
	f.Var(&o.memoryReservation, "memory-reservation", "Memory it keeps when memory is short")
	f.Var(&o.memorySwap, "memory-swap", "Memory and swap it may use together: '-1' for any")
	f.Int64Var(&o.pids, "pids-limit", 0, "Processes it may have (-1 for any number)")
}

// resources gives the limits that the flags ask for.
func (o *containerFlags) resources() api.Resources {
	return api.Resources{
		CgroupParent: o.cgroupParent, Memory: int64(o.memory), MemoryReservation: int64(o.memoryReservation),
		MemorySwap: int64(o.memorySwap.bytesFlag), MemorySwappiness: &o.swappiness, KernelMemory: int64(o.kernelMemory),
		OomKillDisable: &o.oomKillDisable, NanoCPUs: int64(o.cpus), CPUCount: o.cpuCount, CPUPercent: o.cpuPercent,
		CPUShares: o.cpuShares, CPUPeriod: o.cpuPeriod, CPUQuota: o.cpuQuota, CPURealtimePeriod: o.cpuRtPeriod,
		CPURealtimeRuntime: o.cpuRtRuntime, CpusetCpus: o.cpusetCpus, CpusetMems: o.cpusetMems, PidsLimit: &o.pids,
		BlkioWeight: o.blkioWeight, BlkioWeightDevice: o.weightDevices.list(), BlkioDeviceReadBps: o.readBps.list(),
		BlkioDeviceWriteBps: o.writeBps.list(), BlkioDeviceReadIOps: o.readIOps.list(), BlkioDeviceWriteIOps: o.writeIOps.list(),
		IOMaximumIOps: o.ioMaxIOps, IOMaximumBandwidth: uint64(o.ioMaxBandwidth), Ulimits: o.ulimits.list(),
		DeviceCgroupRules: o.deviceRules,
	}
}
