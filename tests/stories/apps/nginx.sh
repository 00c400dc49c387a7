# Sourced by a bash: starts a web server and connects with it, once.
mkdir /tmp/nginx
cat >/tmp/nginx/conf <<'END'
worker_processes 2;
error_log /tmp/nginx/errors;
pid /tmp/nginx/pid;
events {}
http {
    access_log off;
    keepalive_timeout 1h;
    client_body_temp_path /tmp/nginx/body;
    proxy_temp_path /tmp/nginx/proxy;
    fastcgi_temp_path /tmp/nginx/fastcgi;
    uwsgi_temp_path /tmp/nginx/uwsgi;
    scgi_temp_path /tmp/nginx/scgi;
    server {
        listen 127.0.0.1:8080;
        location / { return 200 "request $connection_requests"; }
    }
}
END
/usr/sbin/nginx -e /tmp/nginx/errors -c /tmp/nginx/conf
until exec 3<>/dev/tcp/127.0.0.1/8080; do :; done

# ask FILE: asks the server, and adds the answer's body to the file.
ask() {
    local line length
    printf 'GET / HTTP/1.1\r\nHost: here\r\n\r\n' >&3
    while read -r line <&3; do
        case $line in
            Content-Length:*) length=${line//[!0-9]/} ;;
            $'\r') break ;;
        esac
    done
    read -r -N "$length" line <&3
    echo "$line" >>"$1"
}
