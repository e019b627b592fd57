"""What every service's door needs: where the sockets are, how to serve and connect, how errors travel."""
