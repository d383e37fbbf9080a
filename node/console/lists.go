package console

import (
	"context"
	"net/http"
	"strconv"
)

// list is a page of something. Next, if not empty, asks for the next one.
type list[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

// query reads what pages of lists have in common.
func (h *Handler) query(r *http.Request) (Query, error) {
	values := r.URL.Query()
	q := Query{Hub: values.Get("hub"), User: values.Get("user"), After: values.Get("after"), Limit: pageSize}
	if q.Hub == "" {
		q.Hub = h.core.DefaultHub
	}
	if !h.core.Limits.ValidHub(q.Hub) {
		return q, badRequest("The hub's name is not valid.")
	}
	if given := values.Get("limit"); given != "" {
		var err error
		if q.Limit, err = strconv.Atoi(given); err != nil || q.Limit < 1 || q.Limit > maxPage {
			return q, badRequest("The limit is not between 1 and %d.", maxPage)
		}
	}
	return q, nil
}

// page reads one entry more than a page has, to know whether there is another.
func page[T any](h *Handler, r *http.Request, read func(Query) []T, key func(T) string) (any, error) {
	q, err := h.query(r)
	if err != nil {
		return nil, err
	}
	limit := q.Limit
	q.Limit++
	items := read(q)
	return cut(items, limit, key), nil
}

func cut[T any](items []T, limit int, key func(T) string) list[T] {
	l := list[T]{Items: items}
	if len(items) > limit {
		l.Items = items[:limit]
		l.Next = key(items[limit-1])
	}
	if l.Items == nil {
		l.Items = []T{}
	}
	return l
}

func (h *Handler) connections(_ context.Context, r *http.Request) (any, error) {
	return page(h, r, h.node.Connections, func(c Connection) string { return c.ID })
}

func (h *Handler) users(_ context.Context, r *http.Request) (any, error) {
	return page(h, r, h.node.Users, func(u User) string { return u.ID })
}

func (h *Handler) groups(_ context.Context, r *http.Request) (any, error) {
	return page(h, r, h.node.Groups, func(g Group) string { return g.Name })
}

// groupPage is one group on all nodes.
type groupPage struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
	list[groupMember]
}

type groupMember struct {
	ID     string `json:"id"`
	UserID string `json:"userId"`
}

// group lists the members of a group on all nodes.
func (h *Handler) group(ctx context.Context, r *http.Request) (any, error) {
	q, err := h.query(r)
	if err != nil {
		return nil, err
	}
	name := r.URL.Query().Get("group")
	limit := min(q.Limit, max(1, h.core.Page-1))
	found, err := h.client.Hub(q.Hub).GroupConnections(ctx, name, q.After, min(limit+1, h.core.Page))
	if err != nil {
		return nil, err
	}
	members := make([]groupMember, len(found))
	for i, c := range found {
		members[i] = groupMember{ID: c.ConnectionID, UserID: c.UserID}
	}
	g := groupPage{Name: name, list: cut(members, limit, func(m groupMember) string { return m.ID })}
	g.Count, err = h.node.Count(ctx, q.Hub, name)
	return g, err
}
