package rabbit

// RetryQueue is retryQueue for the tests, which clean up after themselves.
var RetryQueue = retryQueue
