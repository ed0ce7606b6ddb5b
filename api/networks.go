package api

import "time"

// CreateNetwork is the body of POST /networks/create. A nil EnableIPv4 means true, a nil
// EnableIPv6 false, unless the engine's configuration or an option says otherwise.
type CreateNetwork struct {
	Name           string
	CheckDuplicate *bool `json:",omitempty"` // of older clients; names are always unique
	Driver         string
	Scope          string
	EnableIPv4     *bool `json:",omitempty"`
	EnableIPv6     *bool `json:",omitempty"`
	IPAM           *IPAM
	Internal       bool
	Attachable     bool
	Ingress        bool
	ConfigOnly     bool
	ConfigFrom     *ConfigReference
	Options        map[string]string
	Labels         map[string]string
}

// CreatedNetwork answers the creation of a network.
type CreatedNetwork struct {
	ID      string `json:"Id"`
	Warning string
}

// IPAM is how a network's addresses are managed.
type IPAM struct {
	Driver  string
	Options map[string]string
	Config  []IPAMPool
}

// IPAMPool is one subnet of a network; addresses are written as texts.
type IPAMPool struct {
	Subnet     string            `json:",omitempty"`
	IPRange    string            `json:",omitempty"`
	Gateway    string            `json:",omitempty"`
	AuxAddress map[string]string `json:"AuxiliaryAddresses,omitempty"` // name → address
}

// ConfigReference names the network that another takes its configuration from.
type ConfigReference struct {
	Network string
}

// Network answers GET /networks/{id}, and is an entry of GET /networks.
type Network struct {
	Name       string
	ID         string `json:"Id"`
	Created    time.Time
	Scope      string
	Driver     string
	EnableIPv4 bool
	EnableIPv6 bool
	IPAM       IPAM
	Internal   bool
	Attachable bool
	Ingress    bool
	ConfigFrom ConfigReference
	ConfigOnly bool
	Containers map[string]NetworkMember // by the container's id
	Options    map[string]string
	Labels     map[string]string
}

// NetworkMember is a container on a network; the addresses have the length of their subnet.
type NetworkMember struct {
	Name        string
	EndpointID  string
	MacAddress  string
	IPv4Address string
	IPv6Address string
}

// ConnectNetwork is the body of POST /networks/{id}/connect.
type ConnectNetwork struct {
	Container      string
	EndpointConfig *EndpointSettings `json:",omitempty"`
}

// DisconnectNetwork is the body of POST /networks/{id}/disconnect.
type DisconnectNetwork struct {
	Container string
	Force     bool
}

// PrunedNetworks answers POST /networks/prune.
type PrunedNetworks struct {
	NetworksDeleted []string
}
