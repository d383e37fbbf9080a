package main

import (
	"context"
	"fmt"
	"strings"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// links are the connections of every process to every service, each through a
// proxy of its own, so that one process can lose one service.
type links struct {
	api   *toxiproxy.ApiServer
	proxy map[string]map[string]*toxiproxy.Proxy // process, service
}

func newLinks() *links {
	// Some toxics log to a logger of their own.
	zerolog.SetGlobalLevel(zerolog.Disabled)
	return &links{
		api:   toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()),
		proxy: map[string]map[string]*toxiproxy.Proxy{},
	}
}

// add makes the links of a process and returns their addresses.
func (l *links) add(process string, services map[string]string) (map[string]string, error) {
	l.proxy[process] = map[string]*toxiproxy.Proxy{}
	addrs := map[string]string{}
	for service, upstream := range services {
		p := toxiproxy.NewProxy(l.api, process+"-"+service, "127.0.0.1:0", upstream)
		if err := p.Start(); err != nil {
			return nil, fmt.Errorf("proxy: %w", err)
		}
		l.proxy[process][service] = p
		addrs[service] = p.Listen
	}
	return addrs, nil
}

// of are the links of one service: of all processes, or of the one named.
func (l *links) of(service, process string) []*toxiproxy.Proxy {
	var found []*toxiproxy.Proxy
	for name, services := range l.proxy {
		if p := services[service]; p != nil && (process == "" || name == process) {
			found = append(found, p)
		}
	}
	return found
}

// toxics are what a bad network does.
var toxics = map[string][]string{
	// Everything arrives, late and in bits, and so does the end.
	"slow": {
		`{"name":"a","type":"latency","stream":"downstream","attributes":{"latency":300,"jitter":200}}`,
		`{"name":"b","type":"bandwidth","stream":"upstream","attributes":{"rate":40}}`,
		`{"name":"c","type":"slicer","stream":"downstream","attributes":{"average_size":300,"size_variation":200,"delay":100}}`,
		`{"name":"d","type":"slow_close","stream":"downstream","attributes":{"delay":1000}}`,
	},
	// Requests take long to arrive.
	"late": {
		`{"name":"a","type":"latency","stream":"upstream","attributes":{"latency":700,"jitter":300}}`,
	},
	// What is sent vanishes, and nobody hears that the connection is dead.
	"half-open": {
		`{"name":"a","type":"timeout","stream":"downstream","attributes":{"timeout":0}}`,
		`{"name":"b","type":"timeout","stream":"upstream","attributes":{"timeout":0}}`,
	},
	// Whoever says anything is told that there is no such connection.
	"reset": {
		`{"name":"a","type":"reset_peer","stream":"downstream","attributes":{"timeout":0}}`,
	},
	// Connections end in the middle of whatever is said, again and again.
	"torn": {
		`{"name":"a","type":"limit_data","stream":"downstream","attributes":{"bytes":3001}}`,
		`{"name":"b","type":"limit_data","stream":"upstream","attributes":{"bytes":5003}}`,
	},
	// Requests are served; their answers vanish.
	"deaf": {
		`{"name":"a","type":"timeout","stream":"downstream","attributes":{"timeout":0}}`,
	},
}

func spoil(proxies []*toxiproxy.Proxy, toxic string) error {
	for _, p := range proxies {
		for _, raw := range toxics[toxic] {
			if _, err := p.Toxics.AddToxicJson(strings.NewReader(raw)); err != nil {
				return fmt.Errorf("toxic: %w", err)
			}
		}
	}
	return nil
}

func heal(ctx context.Context, proxies []*toxiproxy.Proxy) {
	for _, p := range proxies {
		p.Toxics.ResetToxics(ctx)
	}
}

func cut(proxies []*toxiproxy.Proxy) {
	for _, p := range proxies {
		p.Stop()
	}
}

func mend(proxies []*toxiproxy.Proxy) error {
	for _, p := range proxies {
		if err := p.Start(); err != nil {
			return fmt.Errorf("proxy: %w", err)
		}
	}
	return nil
}

func (l *links) close() {
	for _, services := range l.proxy {
		for _, p := range services {
			p.Stop()
		}
	}
}
