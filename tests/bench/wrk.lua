-- The same post over and over, unsigned: what the server and the network allow.
wrk.method = "POST"
wrk.body = string.rep("x", 200)
wrk.headers["Content-Type"] = "application/octet-stream"

function done(summary)
  io.write(string.format("posts %d %f\n", summary.requests, summary.duration / 1e6))
end
