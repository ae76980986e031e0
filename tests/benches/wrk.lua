-- The same post over and over, unsigned: what the server and the network allow. Prints what the other clients print,
-- but for the time on the CPU, which wrk does not know.
wrk.method = "POST"
wrk.body = string.rep("x", 200)
wrk.headers["Content-Type"] = "application/octet-stream"

function done(summary)
  io.write(string.format('{"posts": %d, "seconds": %f}\n', summary.requests, summary.duration / 1e6))
end
