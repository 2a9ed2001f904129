"""A mail server that prints its port and then each mail it takes as one line of JSON.

It is aiosmtpd where that is installed, otherwise the server that Python up to 3.11 brings along.
"""

import email
import email.policy
import json
import warnings


def show(sender, recipients, data):
    mail = email.message_from_bytes(data, policy=email.policy.default)
    text = mail.get_content()
    line = {"from": sender, "to": recipients, "subject": str(mail["Subject"]), "text": text}
    print(json.dumps(line), flush=True)


try:
    from aiosmtpd.smtp import SMTP
except ImportError:
    import asyncore

    warnings.simplefilter("ignore")
    import smtpd

    class Server(smtpd.SMTPServer):
        def process_message(self, peer, mailfrom, rcpttos, data, **options):
            show(mailfrom, rcpttos, data)

    server = Server(("127.0.0.1", 0), None)
    print(server.socket.getsockname()[1], flush=True)
    asyncore.loop()
else:
    import asyncio

    class Handler:
        async def handle_DATA(self, server, session, envelope):
            show(envelope.mail_from, envelope.rcpt_tos, envelope.original_content)
            return "250 taken"

    async def serve():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: SMTP(Handler(), loop=loop), "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(serve())
