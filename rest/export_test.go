package rest

import "github.com/message-gateway/gateway"

// Hub lets tests stand in for gateway.Hub.
type Hub = hub

// NewWithHubs is New with hubs of the test's own.
func NewWithHubs(client *gateway.Client, opts Options, open func(name string) Hub) (*Handler, error) {
	h, err := New(client, opts)
	if err == nil {
		h.open = open
	}
	return h, err
}

// Routes are method and path of every operation.
func Routes() (list [][2]string) {
	for _, r := range routes {
		list = append(list, [2]string{r.method, "/api/" + r.path})
	}
	return list
}
